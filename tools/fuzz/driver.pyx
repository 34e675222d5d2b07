# SPDX-License-Identifier: MIT
# The inner loop of the decoder fuzzing: mutate, put the bytes into a heap block of exactly their size, decode, count.
# Deterministic: a seed and a list of samples always give the same inputs. Built by tools/sanitize.py only.
# May import: codecs.codec, exceptions.

from libc.stdint cimport INT32_MAX, INT32_MIN, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from fastpg.codecs.codec cimport Codec, CodecHandle, decode_value, encode_value
from fastpg.wire cimport store_u16, store_u32

from fastpg.exceptions import ProtocolError, UnrepresentableValueError

cdef enum:
    ROOM = 4096             # the longest input
    PUNCTUATION = 16

cdef bytes _punctuation = b'{}[](),;"\\=:/\0N '


cdef class Mutator:
    """Inputs made of samples."""
    cdef uint64_t state
    cdef list samples
    cdef Py_ssize_t size            # of a fixed-size type, or -1
    cdef char *buf
    cdef Py_ssize_t n

    def __cinit__(self, list samples, uint64_t seed, Py_ssize_t size=-1):
        self.samples = samples or [b""]
        self.state = seed * <uint64_t>0x9e3779b97f4a7c15 + 0x1234567
        self.size = size
        self.buf = <char *>malloc(ROOM)
        if self.buf == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.buf)

    cdef uint64_t random(self) noexcept:
        # xorshift64*
        self.state ^= self.state >> 12
        self.state ^= self.state << 25
        self.state ^= self.state >> 27
        if self.state == 0:
            self.state = 0x9e3779b97f4a7c15
        return self.state * <uint64_t>0x2545f4914f6cdd1d

    cdef Py_ssize_t below(self, Py_ssize_t limit) noexcept:
        return <Py_ssize_t>((self.random() >> 33) % <uint64_t>limit) if limit > 0 else 0

    cdef int fill(self, Py_ssize_t start, Py_ssize_t end) noexcept:
        while start < end:
            self.buf[start] = <char>(self.random() >> 40)
            start += 1
        return 0

    cdef uint32_t length(self) noexcept:
        # A number that a length or a count may not be, or just so.
        cdef Py_ssize_t which = self.below(14)
        if which == 0:
            return <uint32_t>-1
        if which == 1:
            return <uint32_t>-2
        if which == 2:
            return <uint32_t>INT32_MIN
        if which == 3:
            return <uint32_t>INT32_MAX
        if which == 4:
            return <uint32_t>(self.n + 1)
        if which == 5:
            return <uint32_t>(self.n - 1)
        if which == 6:
            return <uint32_t>self.n
        if which == 7:
            return 0
        if which == 8:
            return 1
        if which == 9:
            return <uint32_t>1 << self.below(32)
        if which == 10:
            return 0x40000000 - <uint32_t>self.below(8)
        if which == 11:
            return 0x10000
        if which == 12:
            return <uint32_t>self.below(32)
        return <uint32_t>self.random()

    cdef int mutate(self) except -1:
        cdef Py_ssize_t at, n, which
        cdef bytes other
        cdef const char *p
        which = self.below(12)
        if self.n == 0 and which != 1 and which != 6:
            which = 1
        at = self.below(self.n)
        if which == 0:                          # truncated
            self.n = at
        elif which == 1:                        # extended
            n = min(1 + self.below(16), ROOM - self.n)
            self.fill(self.n, self.n + n)
            self.n += n
        elif which == 2:                        # a bit
            self.buf[at] ^= <char>(1 << self.below(8))
        elif which == 3:                        # a byte
            self.fill(at, at + 1)
        elif which == 4 or which == 5 or which == 11:   # a length
            if which == 5:
                at &= ~3
            if at + 4 <= self.n:
                store_u32(self.buf + at, self.length())
            elif self.n >= 4:
                store_u32(self.buf + (at & 3 if (at & 3) + 4 <= self.n else 0), self.length())
        elif which == 6:                        # two samples in one
            other = self.samples[self.below(len(self.samples))]
            n = self.below(len(other) + 1)
            p = other
            n = min(len(other) - n, ROOM - at)
            memcpy(self.buf + at, p + (len(other) - n), n)
            self.n = at + n
        elif which == 7:                        # a 16-bit number
            if at + 2 <= self.n:
                store_u16(self.buf + at, <uint32_t>self.length() & 0xffff)
        elif which == 8:                        # a part twice
            n = min(1 + self.below(self.n - at), ROOM - self.n)
            memmove(self.buf + at + n, self.buf + at, self.n - at)
            self.n += n
        elif which == 9:                        # a part less
            n = 1 + self.below(self.n - at)
            memmove(self.buf + at, self.buf + at + n, self.n - at - n)
            self.n -= n
        elif which == 10:                       # what text forms are made of
            self.buf[at] = (<const char *>_punctuation)[self.below(PUNCTUATION)]
        return 0

    cdef int next(self) except -1:
        cdef bytes sample
        cdef const char *p
        cdef Py_ssize_t rounds
        if self.below(16) == 0:
            self.n = self.below(48)
            self.fill(0, self.n)
        else:
            sample = self.samples[self.below(len(self.samples))]
            p = sample
            self.n = min(<Py_ssize_t>len(sample), <Py_ssize_t>ROOM)
            memcpy(self.buf, p, self.n)
            rounds = 1 + self.below(3)
            while rounds:
                self.mutate()
                rounds -= 1
        if self.size >= 0 and self.below(16):
            # Most inputs of a fixed-size type have its size: others are refused at the door.
            if self.n < self.size:
                self.fill(self.n, self.size)
            self.n = self.size
        return 0


def mutations(list samples, uint64_t seed, Py_ssize_t count) -> list:
    """`count` mutated inputs, as bytes."""
    cdef Mutator mutator = Mutator(samples, seed)
    result = []
    while len(result) < count:
        mutator.next()
        result.append(mutator.buf[:mutator.n])
    return result


cdef object decode_exactly(const Codec *codec, const char *p, Py_ssize_t n):
    # The block ends where the input ends: one byte too far is a report. An empty input stands at a block's end.
    cdef char *block = <char *>malloc(n if n else 8)
    if block == NULL:
        raise MemoryError
    memcpy(block, p, n)
    try:
        return decode_value(codec, block if n else block + 8, n)
    finally:
        free(block)


def decode_once(CodecHandle handle not None, bytes data):
    """Decode one input from a block of its size."""
    return decode_exactly(handle.codec, data, len(data))


def decode_many(CodecHandle handle not None, list samples, uint64_t seed, Py_ssize_t count, tuple allowed,
                unsigned char[::1] last) -> tuple:
    """Decode `count` mutated inputs: (values, malformed, unrepresentable, otherwise refused, findings).

    findings: (input, what it did) pairs, at most ten. last: where each input is written before it is decoded, its
    length in the first four bytes; what stands there when the process dies is the input that did it.
    """
    cdef const Codec *codec = handle.codec
    cdef Mutator mutator = Mutator(samples, seed, codec.size)
    cdef Py_ssize_t values = 0, bad = 0, unrepresentable = 0, refused = 0
    cdef list findings = []
    if last.shape[0] < ROOM + 4:
        raise ValueError("no room for the last input")
    while count > 0 and len(findings) < 10:
        count -= 1
        mutator.next()
        store_u32(<char *>&last[0], <uint32_t>mutator.n)
        memcpy(&last[4], mutator.buf, mutator.n)
        try:
            value = decode_exactly(codec, mutator.buf, mutator.n)
        except ProtocolError:
            bad += 1
        except UnrepresentableValueError:
            unrepresentable += 1
        except allowed:
            refused += 1
        except Exception as error:
            findings.append((mutator.buf[:mutator.n], f"{type(error).__name__}: {error}"))
        else:
            values += 1
            # A date as text is longer than its four bytes, but not by much.
            if isinstance(value, (str, bytes, list, tuple)) and len(value) > mutator.n + 64:
                findings.append((mutator.buf[:mutator.n], f"{len(value)} items out of {mutator.n} bytes"))
    return values, bad, unrepresentable, refused, findings


def encode_once(CodecHandle handle not None, value) -> bytes:
    """The payload; SystemError when the codec wrote a wrong length."""
    return encode_value(handle.codec, value)


def code_of(CodecHandle handle not None) -> tuple:
    """What makes the codec behave as it does: the same for codecs that differ in name and OID only."""
    return code(handle.codec)


cdef tuple code(const Codec *codec):
    element = code(codec.element) if codec.element != NULL else None
    return (<size_t>codec.decode, <size_t>codec.encode, codec.size, codec.format, codec.flags, codec.delimiter,
            <size_t>codec.extra, element)


def element_of(CodecHandle handle not None):
    """The codec of an array's elements, of a range's bounds, or None. Borrowed: keep `handle`."""
    if handle.codec.element == NULL:
        return None
    return CodecHandle.borrow(<Codec *>handle.codec.element)


def size_of(CodecHandle handle not None) -> int:
    """Of a fixed-size type, or -1."""
    return handle.codec.size
