# SPDX-License-Identifier: MIT
# One empty C function that callgrind can be told to watch: `--dump-before=fastpg_bench_mark` writes what was counted
# since the last call, so that a measured region of a long process is counted alone.

cdef extern from *:
    """
    #if defined(__GNUC__)
    __attribute__((noinline, visibility("default")))
    #endif
    void fastpg_bench_mark(void);
    void fastpg_bench_mark(void) {
    #if defined(__GNUC__)
        __asm__ volatile("" ::: "memory");
    #endif
    }
    """
    void fastpg_bench_mark()


def mark() -> None:
    """The border of a measured region."""
    fastpg_bench_mark()
