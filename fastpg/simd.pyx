# SPDX-License-Identifier: MIT
# The byte swaps of include/swap.c, with the fastest instruction set that this processor has; FASTPG_SIMD in the
# environment names another one. May import: nothing.

import os
import warnings

cdef extern from "swap.h" nogil:
    ctypedef struct fastpg_swap_table:
        const char *name
        void (*swap16)(void *dst, const void *src, size_t count) noexcept nogil
        void (*swap32)(void *dst, const void *src, size_t count) noexcept nogil
        void (*swap64)(void *dst, const void *src, size_t count) noexcept nogil
        size_t (*unpack4)(void *dst, const void *src, size_t count) noexcept nogil
        size_t (*unpack8)(void *dst, const void *src, size_t count) noexcept nogil
        void (*pack4)(void *dst, const void *src, size_t count) noexcept nogil
        void (*pack8)(void *dst, const void *src, size_t count) noexcept nogil

    const fastpg_swap_table *fastpg_swap_available(int index)

cdef const fastpg_swap_table *table = fastpg_swap_available(0)


cdef void swap_copy_16(void *dst, const void *src, size_t count) noexcept nogil:
    table.swap16(dst, src, count)


cdef void swap_copy_32(void *dst, const void *src, size_t count) noexcept nogil:
    table.swap32(dst, src, count)


cdef void swap_copy_64(void *dst, const void *src, size_t count) noexcept nogil:
    table.swap64(dst, src, count)


cdef size_t unpack_4(void *dst, const void *src, size_t count) noexcept nogil:
    return table.unpack4(dst, src, count)


cdef size_t unpack_8(void *dst, const void *src, size_t count) noexcept nogil:
    return table.unpack8(dst, src, count)


cdef void pack_4(void *dst, const void *src, size_t count) noexcept nogil:
    table.pack4(dst, src, count)


cdef void pack_8(void *dst, const void *src, size_t count) noexcept nogil:
    table.pack8(dst, src, count)


def available() -> list:
    """The instruction sets of this processor that there is code for, the slowest first."""
    cdef int index = 0
    cdef list names = []
    while fastpg_swap_available(index) != NULL:
        names.append(fastpg_swap_available(index).name.decode())
        index += 1
    return names


def active() -> str:
    """The instruction set in use."""
    return table.name.decode()


def force(name: str) -> None:
    """Use this instruction set from now on, in all threads. ValueError when this processor does not have it."""
    global table
    names = available()
    if name not in names:
        raise ValueError(f"no SIMD code for {name!r} on this processor; there is {', '.join(names)}")
    table = fastpg_swap_available(names.index(name))


def run(function: str, data: bytes, count: int, offset: int = 0) -> tuple:
    """For tests: what one of the functions makes of data[offset:], and how many numbers it took.

    The result has `offset` bytes before and 8 bytes behind it that must come back as they were: 0xa5.
    """
    sizes = {"swap16": (2, 2), "swap32": (4, 4), "swap64": (8, 8), "unpack4": (8, 4), "unpack8": (12, 8),
             "pack4": (4, 8), "pack8": (8, 12)}
    cdef size_t n = count, taken = count
    if len(data) - offset < n * <size_t>sizes[function][0]:
        raise ValueError("too few bytes")
    result = bytearray(b"\xa5" * (offset + n * <size_t>sizes[function][1] + 8))
    cdef const unsigned char *source = data
    cdef unsigned char *target = result
    source += <size_t>offset
    target += <size_t>offset
    if function == "swap16":
        swap_copy_16(target, source, n)
    elif function == "swap32":
        swap_copy_32(target, source, n)
    elif function == "swap64":
        swap_copy_64(target, source, n)
    elif function == "unpack4":
        taken = unpack_4(target, source, n)
    elif function == "unpack8":
        taken = unpack_8(target, source, n)
    elif function == "pack4":
        pack_4(target, source, n)
    else:
        pack_8(target, source, n)
    return bytes(result), taken


def _choose() -> None:
    names = available()
    wanted = os.environ.get("FASTPG_SIMD", "")
    if wanted and wanted not in names:
        warnings.warn(f"FASTPG_SIMD={wanted!r} is not known on this processor; there is {', '.join(names)}",
                      RuntimeWarning, stacklevel=2)
        wanted = ""
    force(wanted or names[len(names) - 1])


_choose()
