# SPDX-License-Identifier: MIT
"""Arrays of numbers: nanoseconds a number, by instruction set, in turns; no server.

    python -m bench.arrays [--numbers 10000] [--turns 15]

copy: the swaps alone, from the wire's (length, value) pairs to numbers and back. decode: to a list of Python objects.
encode: from the memory of an array.array, and from a list.
"""

from __future__ import annotations

import argparse
import array
import statistics
import struct
import time
from collections.abc import Callable
from typing import Any

from fastpg import simd
from fastpg.codecs.codec import decode, encode

KINDS = {"int4": (1007, "i", 4), "float8": (1022, "d", 8)}


def work(kind: str, numbers: int) -> dict[str, Callable[[], Any]]:
    """What is timed for one type."""
    oid, code, size = KINDS[kind]
    values = [type(struct.unpack(code, bytes(size))[0])(i * 37 % 100_000) for i in range(numbers)]
    memory = array.array(code, values)
    wire = encode(oid, values)
    elements = wire[20:]
    raw = memory.tobytes()
    return {
        f"{kind} copy in": lambda: simd.run(f"unpack{size}", elements, numbers),
        f"{kind} copy out": lambda: simd.run(f"pack{size}", raw, numbers),
        f"{kind} decode": lambda: decode(oid, wire),
        f"{kind} encode memory": lambda: encode(oid, memory),
        f"{kind} encode list": lambda: encode(oid, values),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    names = simd.available()
    print(f"{'nanoseconds a number':24}" + "".join(f"{name:>10}" for name in names))
    for kind in KINDS:
        for what, step in work(kind, options.numbers).items():
            taken: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(options.turns):
                for name in names:
                    simd.force(name)
                    step()
                    begun = time.perf_counter()
                    for _ in range(10):
                        step()
                    taken[name].append((time.perf_counter() - begun) / 10 / options.numbers * 1e9)
            print(f"{what:24}" + "".join(f"{statistics.median(taken[name]):10.2f}" for name in names))
    simd.force(names[-1])


if __name__ == "__main__":
    main()
