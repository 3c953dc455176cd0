"""The Internet checksum (RFC 1071): partial sums in a uint64_t, folded at the end. Sums are of 16-bit words
as they lie in memory, so a folded and complemented sum is stored to a header without byte swapping."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

# data may lie at any address. An odd last byte counts as if a zero followed it (RFC 1071 §4.1).
cdef uint64_t checksum_add(const uint8_t* data, uint32_t length, uint64_t total) noexcept nogil
# For data that comes in pieces: as checksum_add, for bytes that stand at `offset` in what is summed (RFC 1071
# §2 (B)).
cdef uint64_t checksum_add_at(
    const uint8_t* data, uint32_t length, uint32_t offset, uint64_t total
) noexcept nogil
cdef uint16_t checksum_fold(uint64_t total) noexcept nogil          # folded, not complemented
# Pseudo-header of IPv4 (RFC 9293 §3.1), added to total; length in host order.
cdef uint64_t pseudo_header_v4(
    const uint8_t* source, const uint8_t* destination, uint8_t protocol, uint32_t length, uint64_t total
) noexcept nogil
