# SPDX-License-Identifier: MIT
"""The byte swaps: every instruction set does what the scalar code does, and arrays of numbers go through them."""

from __future__ import annotations

import array
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpg import exceptions, simd
from fastpg.codecs.codec import decode, encode
from tests.strategies import floats32

ROOT = Path(__file__).parent.parent
FUNCTIONS = {"swap16": 2, "swap32": 4, "swap64": 8, "unpack4": 8, "unpack8": 12, "pack4": 4, "pack8": 8}
INT4, INT8, FLOAT4, FLOAT8 = 23, 20, 700, 701
ARRAYS = {INT4: (1007, "i", "i"), INT8: (1016, "q", "q"), FLOAT4: (1021, "f", "f"), FLOAT8: (1022, "d", "d")}


@pytest.fixture(params=simd.available())
def forced(request: pytest.FixtureRequest) -> Iterator[str]:
    before = simd.active()
    simd.force(request.param)
    yield request.param
    simd.force(before)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = simd.active()
    yield
    assert simd.active() == before


def swapped(function: str, data: bytes, count: int) -> tuple[bytes, int]:
    """What a function is to make of the data, in Python's words."""
    if function.startswith("swap"):
        size = int(function[4:]) // 8
        return b"".join(data[i * size : (i + 1) * size][::-1] for i in range(count)), count
    size = int(function[-1:])
    if function.startswith("pack"):
        return b"".join(struct.pack("!i", size) + data[i * size : (i + 1) * size][::-1] for i in range(count)), count
    result = b""
    for i in range(count):
        at = i * (size + 4)
        if data[at : at + 4] != struct.pack("!i", size):
            return result, i
        result += data[at + 4 : at + 4 + size][::-1]
    return result, count


@pytest.mark.skipif(sys.byteorder == "big", reason="nothing is swapped there")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_count_and_alignment(forced: str, function: str) -> None:
    width = FUNCTIONS[function]
    for count in [*range(41), 63, 64, 65, 200]:
        for offset in (0, 1, 2, 3, 4, 5, 8, 13):
            data = bytes((7 * i + 3) % 256 for i in range(width * count))
            if function.startswith("unpack"):
                head = struct.pack("!i", width - 4)
                data = b"".join(head + data[width * i + 4 : width * (i + 1)] for i in range(count))
            made, taken = simd.run(function, bytes(offset) + data, count, offset)
            expected, n = swapped(function, data, count)
            assert taken == n == count
            assert made == b"\xa5" * offset + expected + b"\xa5" * 8


@given(st.data())
def test_unpacking_stops_at_another_length(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([4, 8]))
    count = data.draw(st.integers(1, 60))
    lengths = data.draw(st.lists(st.sampled_from([size] * 40 + [-1, 0, 12 - size, 2**24 * size, -size]),
                                 min_size=count, max_size=count))  # fmt: skip
    wire = b"".join(struct.pack("!i", n) + bytes([i]) * size for i, n in enumerate(lengths))
    right = next((i for i, n in enumerate(lengths) if n != size), count)
    before = simd.active()
    try:
        for name in simd.available():
            simd.force(name)
            made, taken = simd.run(f"unpack{size}", wire, count)
            assert taken == right
            assert made[: size * right] == b"".join(bytes([i]) * size for i in range(right))
            assert made[size * count :] == b"\xa5" * 8
    finally:
        simd.force(before)


# ------------------------------------------------------------------------- choosing

def chosen(value: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if name != "FASTPG_SIMD"}
    if value is not None:
        environment["FASTPG_SIMD"] = value
    command = [sys.executable, "-c", "from fastpg import simd; print(simd.active())"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=True)


def test_the_environment_chooses() -> None:
    for name in simd.available():
        assert chosen(name).stdout.strip() == name
    assert chosen(None).stdout.strip() == chosen("").stdout.strip() == simd.available()[-1]
    done = chosen("mmx")
    assert done.stdout.strip() == simd.available()[-1]
    assert "FASTPG_SIMD='mmx' is not known on this processor; there is scalar" in done.stderr


def test_only_what_is_there() -> None:
    assert simd.available()[0] == "scalar"
    with pytest.raises(ValueError, match="no SIMD code for 'mmx' on this processor"):
        simd.force("mmx")
    with pytest.raises(ValueError, match="too few bytes"):
        simd.run("swap32", b"abc", 1)


def compile_check(tmp_path: Path, compiler: str, *flags: str) -> Path:
    program = tmp_path / "check"
    sources = [ROOT / "tests/simd/check.c", ROOT / "fastpg/include/swap.c"]
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-I", ROOT / "fastpg/include", *sources]
    subprocess.run([*map(str, command), "-o", str(program)], check=True, capture_output=True, timeout=120)
    return program


def test_neon(tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("no aarch64 compiler and emulator here")
    program = compile_check(tmp_path, compiler, "-static")
    done = subprocess.run([emulator, program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, ["scalar", "neon"]), done.stdout


def test_without_python(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    done = subprocess.run([compile_check(tmp_path, compiler)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, simd.available()), done.stdout


# --------------------------------------------------------------------------- arrays

VALUES: dict[int, st.SearchStrategy[Any]] = {
    INT4: st.integers(-(2**31), 2**31 - 1), INT8: st.integers(-(2**63), 2**63 - 1), FLOAT4: floats32,
    FLOAT8: st.floats(),
}  # fmt: skip


def wire_of(oid: int, values: list[Any]) -> bytes:
    """An array in its binary form, by struct."""
    code = ARRAYS[oid][1]
    size = struct.calcsize("!" + code)
    items = [b"\xff\xff\xff\xff" if v is None else struct.pack(f"!i{code}", size, v) for v in values]
    head = struct.pack("!iiI", 1, None in values, oid) + struct.pack("!ii", len(values), 1)
    return (head if values else struct.pack("!iiI", 0, 0, oid)) + b"".join(items)


def same(a: list[Any], b: list[Any]) -> bool:
    return [type(x) for x in a] == [type(x) for x in b] and repr(a) == repr(b)


@pytest.mark.parametrize("oid", ARRAYS)
@given(data=st.data())
def test_arrays_with_and_without_nulls(oid: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.one_of(VALUES[oid], VALUES[oid], st.none()), max_size=40))
    values = data.draw(st.sampled_from([values, values * 20]))
    array_oid = ARRAYS[oid][0]
    before = simd.active()
    try:
        for name in simd.available():
            simd.force(name)
            assert same(decode(array_oid, wire_of(oid, values)), values)
    finally:
        simd.force(before)


@pytest.mark.parametrize("oid", ARRAYS)
def test_malformed_arrays(forced: str, oid: int) -> None:
    array_oid = ARRAYS[oid][0]
    wire = wire_of(oid, [1, None, 3] * 100)
    assert decode(array_oid, wire) == [1, None, 3] * 100
    for cut in (*range(12, 40), 500, len(wire) - 1):
        with pytest.raises(exceptions.ProtocolError):
            decode(array_oid, wire[:cut])
    for at in range(20, 60):
        changed = wire[:at] + bytes([wire[at] ^ 0x40]) + wire[at + 1 :]
        try:
            decode(array_oid, changed)
        except exceptions.ProtocolError:
            continue
    for length in (-2, 3, 5, 2**31 - 1, -(2**31)):
        with pytest.raises(exceptions.ProtocolError, match="element of"):
            decode(array_oid, wire[:20] + struct.pack("!i", length) + wire[24:])
    with pytest.raises(exceptions.ProtocolError, match="trailing bytes"):
        decode(array_oid, wire + b"\0")


@pytest.mark.parametrize("oid", ARRAYS)
def test_memory_of_numbers_goes_out_as_it_is(forced: str, oid: int) -> None:
    array_oid = ARRAYS[oid][0]
    for count in (0, 1, 3, 4, 7, 8, 9, 31, 1000):
        values = [i * 37 % 1000 - 500 for i in range(count)]
        memory = array.array(ARRAYS[oid][2], values)
        assert encode(array_oid, memory) == encode(array_oid, list(memory))


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
@pytest.mark.parametrize("oid", ARRAYS)
def test_memory_of_other_numbers_goes_the_general_way(oid: int, code: str) -> None:
    # The same bytes, or the same error, as for a list of what is in it.
    array_oid = ARRAYS[oid][0]
    for values in ([1, 2, 3], [100, 0], []):
        memory = array.array(code, values)
        try:
            expected = encode(array_oid, list(memory))
        except (TypeError, ValueError, OverflowError) as error:
            with pytest.raises(type(error)):
                encode(array_oid, memory)
        else:
            assert encode(array_oid, memory) == expected


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    for oid, kind in ((INT4, "i4"), (INT8, "i8"), (FLOAT4, "f4"), (FLOAT8, "f8")):
        array_oid = ARRAYS[oid][0]
        numbers = numpy.arange(24, dtype=kind)
        for memory in (
            numbers, numbers.reshape(2, 3, 4), numbers[::2], numbers.reshape(4, 6).T, numbers.astype(">" + kind),
            numpy.asfortranarray(numbers.reshape(4, 6)), numbers[:0],
        ):  # fmt: skip
            assert encode(array_oid, memory) == encode(array_oid, memory.tolist())


def test_bytes_are_no_numbers() -> None:
    for value in (b"\1\2\3\4", bytearray(4), memoryview(array.array("i", [1]))):
        with pytest.raises(TypeError, match="a sized iterable container expected"):
            encode(1007, value)
