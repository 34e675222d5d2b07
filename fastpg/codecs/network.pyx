# SPDX-License-Identifier: MIT
# inet and cidr <-> the classes of the ipaddress module. May import: wire, codec.

import ipaddress

from libc.stdint cimport uint8_t

from fastpg.codecs.codec cimport CODEC_ATOMIC, FORMAT_BINARY, KIND_INET, Codec, malformed, register
from fastpg.wire cimport Out, load_u32, out_begin_value, out_bytes, out_end_value, out_u8

cdef enum:
    # PGSQL_AF_INET and PGSQL_AF_INET6 of the wire form.
    FAMILY_4 = 2
    FAMILY_6 = 3

cdef object IPv4Address = ipaddress.IPv4Address
cdef object IPv6Address = ipaddress.IPv6Address
cdef object IPv4Network = ipaddress.IPv4Network
cdef object IPv6Network = ipaddress.IPv6Network
cdef object IPv4Interface = ipaddress.IPv4Interface
cdef object IPv6Interface = ipaddress.IPv6Interface


cdef object inet_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int family, bits, size
    cdef bint is_cidr
    if n < 4:
        return malformed(self, "too short")
    family, bits, is_cidr, size = <uint8_t>p[0], <uint8_t>p[1], p[2] != 0, <uint8_t>p[3]
    if size != n - 4 or not (family == FAMILY_4 and size == 4 or family == FAMILY_6 and size == 16) or bits > size * 8:
        return malformed(self, f"family {family}, {bits} bits, {n - 4} bytes")
    p += 4
    if is_cidr:
        try:
            return IPv4Network((load_u32(p), bits)) if family == FAMILY_4 else IPv6Network((p[:16], bits))
        except ValueError as error:         # host bits are set, which the server does not let happen
            return malformed(self, str(error))
    if family == FAMILY_4:
        return IPv4Address(load_u32(p)) if bits == 32 else IPv4Interface((load_u32(p), bits))
    return IPv6Address(p[:16]) if bits == 128 else IPv6Interface((p[:16], bits))


cdef int put_address(Out *out, object address, int bits, bint is_cidr) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    cdef bytes packed = address.packed
    cdef const char *p = packed
    out_u8(out, FAMILY_4 if len(packed) == 4 else FAMILY_6)
    out_u8(out, <uint8_t>bits)
    out_u8(out, is_cidr)
    out_u8(out, <uint8_t>len(packed))
    out_bytes(out, p, len(packed))
    return out_end_value(out, at)


cdef object as_address(object value):
    return int(value) if isinstance(value, bool) else value     # a bool is no int to what packs an address


cdef int inet_encode(const Codec *self, Out *out, object value) except -1:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return put_address(out, value.network_address, value.prefixlen, False)
    if not isinstance(value, (IPv4Address, IPv6Address)):
        value = ipaddress.ip_interface(as_address(value))
    if isinstance(value, (IPv4Interface, IPv6Interface)):
        return put_address(out, value.ip, value.network.prefixlen, False)
    return put_address(out, value, value.max_prefixlen, False)


cdef int cidr_encode(const Codec *self, Out *out, object value) except -1:
    if not isinstance(value, (IPv4Network, IPv6Network)):
        value = ipaddress.ip_network(as_address(value))
    return put_address(out, value.network_address, value.prefixlen, True)


cdef Codec _codecs[2]

_codecs[0].oid = 869
_codecs[0].encode = inet_encode
_codecs[0].name = b"inet"
_codecs[1].oid = 650
_codecs[1].encode = cidr_encode
_codecs[1].name = b"cidr"
for _i in range(2):
    _codecs[_i].size = -1
    _codecs[_i].kind = KIND_INET
    _codecs[_i].format = FORMAT_BINARY
    _codecs[_i].flags = CODEC_ATOMIC
    _codecs[_i].decode = inet_decode
    register(&_codecs[_i])
