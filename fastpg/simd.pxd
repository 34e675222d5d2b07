# SPDX-License-Identifier: MIT
# Many numbers at once between the wire's byte order and the host's; see include/swap.h. Any alignment.

cdef void swap_copy_16(void *dst, const void *src, size_t count) noexcept nogil
cdef void swap_copy_32(void *dst, const void *src, size_t count) noexcept nogil
cdef void swap_copy_64(void *dst, const void *src, size_t count) noexcept nogil
# (int32 length, value) pairs <-> numbers. unpack: how many were taken before a length was not 4 (8).
cdef size_t unpack_4(void *dst, const void *src, size_t count) noexcept nogil
cdef size_t unpack_8(void *dst, const void *src, size_t count) noexcept nogil
cdef void pack_4(void *dst, const void *src, size_t count) noexcept nogil
cdef void pack_8(void *dst, const void *src, size_t count) noexcept nogil
