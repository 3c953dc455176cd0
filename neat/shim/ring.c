/* Copying between byte rings and the application's buffers. Offsets and lengths are checked by the
 * callers. */
#include "data.h"

#define MOST_BYTES ((size_t)0x7ffff000)      /* Linux moves no more at once (write(2)) */

size_t neat_iov_bytes(const struct iovec *iov, int count) {
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum = iov[i].iov_len < MOST_BYTES - sum ? sum + iov[i].iov_len : MOST_BYTES;
    return sum;
}

/* Copy `length` bytes at ring offset `at` from or to one buffer, around the end. `size` is a power of two. */
void neat_ring_peek(const uint8_t *ring, uint32_t size, uint64_t at, void *data, size_t length) {
    uint32_t start = (uint32_t)at & (size - 1);
    size_t first = length < size - start ? length : size - start;
    memcpy(data, ring + start, first);
    memcpy((uint8_t *)data + first, ring, length - first);
}

void neat_ring_poke(uint8_t *ring, uint32_t size, uint64_t at, const void *data, size_t length) {
    uint32_t start = (uint32_t)at & (size - 1);
    size_t first = length < size - start ? length : size - start;
    memcpy(ring + start, data, first);
    memcpy(ring, (const uint8_t *)data + first, length - first);
}

void neat_ring_read(const uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, int count,
                    size_t skip, size_t length) {
    for (int i = 0; i < count && length; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t part = iov[i].iov_len - skip < length ? iov[i].iov_len - skip : length;
        neat_ring_peek(ring, size, at, (uint8_t *)iov[i].iov_base + skip, part);
        at += part;
        length -= part;
        skip = 0;
    }
}

void neat_ring_write(uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, int count,
                     size_t skip, size_t length) {
    for (int i = 0; i < count && length; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t part = iov[i].iov_len - skip < length ? iov[i].iov_len - skip : length;
        neat_ring_poke(ring, size, at, (const uint8_t *)iov[i].iov_base + skip, part);
        at += part;
        length -= part;
        skip = 0;
    }
}
