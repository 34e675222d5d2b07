# SPDX-License-Identifier: MIT
# numeric <-> decimal.Decimal, the scale kept: the exponent of a finite result is minus the display scale.
#
# On the wire: int16 number of digits, int16 weight (power of 10000 of the first digit), uint16 sign,
# int16 display scale, then the base-10000 digits as uint16.
#
# Decoding has two roads. Up to 18 significant digits and a small scale: the coefficient as a C integer, times a
# power of ten from a frozen table, in a context of unlimited precision (exact, a quarter cheaper than a parse).
# Everything else: the plain digits as a str, parsed by Decimal. The application's own decimal context has no say
# in either.
# May import: codecs.codec, wire.

from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from fastpg.codecs.codec cimport CODEC_ATOMIC, FORMAT_BINARY, KIND_NUMERIC, Codec, malformed, register
from fastpg.wire cimport Out, load_i16, load_u16, out_need, put_u16, put_u32

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    const char *PyUnicode_AsUTF8AndSize(object value, Py_ssize_t *n) except NULL
    object PyUnicode_New(Py_ssize_t n, Py_UCS4 maximum)
    char *ascii_data "(char *)PyUnicode_DATA" (object value)


cdef enum:
    BASE = 10000
    HEADER = 8
    POSITIVE = 0x0000
    NEGATIVE = 0x4000
    NAN = 0xc000
    POSITIVE_INFINITY = 0xd000
    NEGATIVE_INFINITY = 0xf000
    MAX_SCALE = 16383           # digits after the point
    MAX_WHOLE = 131072          # digits before the point
    SHORT = 18                  # decimal digits that fit int64

cdef object _decimal = Decimal
cdef object _exact = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
cdef object _multiply = _exact.multiply
cdef object _from_int = Decimal.from_float          # takes an int as well, and takes it exactly
cdef object _nan = Decimal("NaN")
cdef object _infinity = Decimal("Infinity")
cdef object _negative_infinity = Decimal("-Infinity")
cdef tuple _quanta = tuple([Decimal((0, (1,), -scale)) for scale in range(SHORT + 1)])

cdef int64_t _powers[SHORT + 1]
for _i in range(SHORT + 1):
    _powers[_i] = 10 ** _i


# ----------------------------------------------------------------------------- decode

cdef inline void _write_group(char *w, int digit) noexcept nogil:
    w[0] = <char>(48 + digit // 1000)
    w[1] = <char>(48 + digit // 100 % 10)
    w[2] = <char>(48 + digit // 10 % 10)
    w[3] = <char>(48 + digit % 10)


cdef object _parse_digits(const char *p, int ndigits, int weight, bint negative, int scale):
    # The digits were checked; at most 131072 characters before the point and 16383 after it.
    cdef int whole = weight + 1 if ndigits > 0 and weight >= 0 else 0
    cdef int length = negative + (4 * whole if whole else 1) + (scale + 1 if scale else 0)
    cdef char group[4]
    cdef int i, k, left
    text = PyUnicode_New(length, 127)
    cdef char *w = ascii_data(text)
    if negative:
        w[0] = b"-"
        w += 1
    for i in range(whole):
        _write_group(w, load_u16(p + 2 * i) if i < ndigits else 0)
        w += 4
    if not whole:
        w[0] = b"0"
        w += 1
    if scale:
        w[0] = b"."
        w += 1
        i = weight + 1
        left = scale
        while left > 0:
            _write_group(group, load_u16(p + 2 * i) if 0 <= i < ndigits else 0)
            for k in range(4 if left > 4 else left):
                w[k] = group[k]
            w += 4
            left -= 4
            i += 1
    return _decimal(text)


cdef object _decode_long(const Codec *self, const char *p, int ndigits, int weight, int sign, int scale):
    cdef int i
    if sign == NAN:
        return _nan
    if sign == POSITIVE_INFINITY:
        return _infinity
    if sign == NEGATIVE_INFINITY:
        return _negative_infinity
    if sign != POSITIVE and sign != NEGATIVE:
        return malformed(self, f"sign {sign:#x}")
    if scale > MAX_SCALE:
        return malformed(self, f"scale {scale}")
    for i in range(ndigits):
        if load_u16(p + 2 * i) >= BASE:
            return malformed(self, f"digit {load_u16(p + 2 * i)}")
    return _parse_digits(p, ndigits, weight, sign == NEGATIVE, scale)


cdef object numeric_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int ndigits, weight, sign, scale, shift, i
    cdef int64_t value = 0
    cdef uint32_t digit
    if n < HEADER:
        return malformed(self, f"{n} bytes")
    ndigits = load_u16(p)
    weight = load_i16(p + 2)
    sign = load_u16(p + 4)
    scale = load_u16(p + 6)
    p += HEADER
    if n != HEADER + 2 * ndigits:
        return malformed(self, f"{n} bytes for {ndigits} digits")
    if ndigits > 4 or scale > SHORT or (sign != POSITIVE and sign != NEGATIVE):
        return _decode_long(self, p, ndigits, weight, sign, scale)
    for i in range(ndigits):
        digit = load_u16(p + 2 * i)
        if digit >= BASE:
            return malformed(self, f"digit {digit}")
        value = value * BASE + digit
    if value != 0:
        # value * 10000 ** (weight - ndigits + 1), as a multiple of 10 ** -scale
        shift = 4 * (weight - ndigits + 1) + scale
        if shift >= 0:
            if shift > SHORT or value > _powers[SHORT] // _powers[shift]:
                return _parse_digits(p, ndigits, weight, sign == NEGATIVE, scale)
            value *= _powers[shift]
        else:
            if shift < -SHORT or value % _powers[-shift]:
                return _parse_digits(p, ndigits, weight, sign == NEGATIVE, scale)
            value //= _powers[-shift]
        if sign == NEGATIVE:
            value = -value
    if scale == 0:
        return _from_int(value)
    return _multiply(value, <object>_quanta[scale])


# ----------------------------------------------------------------------------- encode

cdef int _header(Out *out, Py_ssize_t ndigits, int weight, int sign, int scale) except -1:
    out_need(out, 4 + HEADER + 2 * ndigits)
    put_u32(out, <uint32_t>(HEADER + 2 * ndigits))
    put_u16(out, <uint32_t>ndigits & 0xffff)
    put_u16(out, <uint32_t>weight & 0xffff)
    put_u16(out, sign)
    put_u16(out, scale)
    return 0


cdef int _encode_int(Out *out, int64_t value) except -1:
    cdef uint32_t groups[5]         # 19 decimal digits
    cdef int count = 0, zeros = 0, i
    cdef uint64_t rest = <uint64_t>value if value >= 0 else 0 - <uint64_t>value
    memset(groups, 0, sizeof(groups))
    while rest:
        groups[count] = <uint32_t>(rest % BASE)
        rest //= BASE
        count += 1
    while zeros < count and groups[zeros] == 0:
        zeros += 1
    _header(out, count - zeros, count - 1 if count else 0, NEGATIVE if value < 0 else POSITIVE, 0)
    for i in range(count - 1, zeros - 1, -1):
        put_u16(out, groups[i])
    return 0


cdef object _too_long(str which):
    raise ValueError(f"cannot encode Decimal value into numeric: exponent is too {which}")


cdef int _encode_text(Out *out, const char *p, Py_ssize_t n) except -1:
    # p[:n] is str() of a Decimal: [-]digits[.digits][E[+-]digits], NaN, sNaN, Infinity, with '-' and NaN payloads.
    cdef const char *end = p + n
    cdef const char *digits
    cdef Py_ssize_t count = 0, fraction = 0, ndigits, i, trailing = 0
    cdef int64_t exponent = 0, power = 0, whole, weight, scale
    cdef int sign = POSITIVE, digit = 0, filled
    cdef bint point = False, down = False
    if p < end and p[0] == b"-":
        sign = NEGATIVE
        p += 1
    if p == end or not (p[0] == b"." or b"0" <= p[0] <= b"9"):
        if p < end and p[0] == b"I":
            return _header(out, 0, 0, NEGATIVE_INFINITY if sign else POSITIVE_INFINITY, 0)
        return _header(out, 0, 0, NAN, 0)
    digits = NULL                   # the first digit that is not zero
    while p < end and p[0] != b"E" and p[0] != b"e":
        if p[0] == b".":
            point = True
        else:
            if point:
                fraction += 1
            if digits == NULL and p[0] != b"0":
                digits = p
            if digits != NULL:
                count += 1
                trailing = trailing + 1 if p[0] == b"0" else 0
        p += 1
    if p < end:
        p += 1
        if p < end and (p[0] == b"+" or p[0] == b"-"):
            down = p[0] == b"-"
            p += 1
        while p < end:
            if power < 100000000000000000:      # far beyond every limit below
                power = power * 10 + (p[0] - 48)
            p += 1
    exponent = (-power if down else power) - fraction
    if exponent < -MAX_SCALE:
        _too_long("small")
    scale = -exponent if exponent < 0 else 0
    if count == 0:
        return _header(out, 0, 0, POSITIVE, <int>scale)
    whole = count + exponent        # digits before the point, negative when zeros follow it
    if whole > MAX_WHOLE:
        _too_long("large")
    weight = (whole + 3) // 4 - 1 if whole > 0 else -((-whole) // 4) - 1
    filled = <int>(4 * (weight + 1) - whole)        # zeros in front of the first digit, 0 to 3
    count -= trailing
    ndigits = (filled + count + 3) // 4
    _header(out, ndigits, <int>weight, sign, <int>scale)
    p = digits
    i = 0
    while i < count:
        if p[0] != b".":
            digit = digit * 10 + (p[0] - 48)
            filled += 1
            i += 1
            if filled == 4:
                put_u16(out, digit)
                filled = digit = 0
        p += 1
    if filled:
        while filled < 4:
            digit *= 10
            filled += 1
        put_u16(out, digit)
    return 0


cdef int numeric_encode(const Codec *self, Out *out, object value) except -1:
    cdef int overflow = 0
    cdef int64_t small
    cdef Py_ssize_t n
    cdef const char *p
    if PyLong_CheckExact(value):
        small = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            return _encode_int(out, small)
    if type(value) is not _decimal:
        value = _decimal(value, _exact)
    text = str(value)
    p = PyUnicode_AsUTF8AndSize(text, &n)
    return _encode_text(out, p, n)


cdef Codec numeric
numeric.oid = 1700
numeric.size = -1
numeric.kind = KIND_NUMERIC
numeric.format = FORMAT_BINARY
numeric.flags = CODEC_ATOMIC
numeric.decode = numeric_decode
numeric.encode = numeric_encode
numeric.name = b"numeric"
register(&numeric)
