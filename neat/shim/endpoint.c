/* A socket object in a segment: opened, closed; its errors, and how it is lost. */
#include "object.h"

/* `generation` 0: whatever the object has now. */
int neat_endpoint_open(struct endpoint *end, uint64_t owner, uint32_t replica, uint64_t incarnation,
                       uint32_t index, uint32_t generation) {
    struct segment *segment;
    if (replica >= MAX_REPLICAS)
        return -EPROTO;
    int status = neat_segment_get(owner, replica, incarnation, &segment);
    if (status < 0)
        return status;
    if (index >= segment->nsock) {
        neat_segment_put(segment);
        return -EPROTO;
    }
    memset(end, 0, sizeof *end);
    end->segment = segment;
    end->index = index;
    end->shared = (struct neat_sock *)(segment->base + NEAT_SOCKS_OFFSET) + index;
    end->rx = segment->base + neat_rx_offset(segment->nsock, segment->rx_size, segment->tx_size, index);
    end->tx = end->rx + segment->rx_size;
    end->generation = generation ? generation : load(&end->shared->generation);
    return 0;
}

void neat_endpoint_close(struct endpoint *end) {
    if (!end->shared)
        return;
    neat_segment_put(end->segment);
    end->shared = NULL;
    end->segment = NULL;
}

/* The error that the replica reported, once. Also clears the descriptor's own, which says no more than
 * that there is one; not where each poll() passes by us, who know that it was told (preload/poll.c). */
int neat_endpoint_error(struct endpoint *end, int fd) {
    uint32_t count = load(&end->shared->error_count), seen = load(&end->error_seen);
    if (count == seen || !swap_if(&end->error_seen, &seen, count))
        return 0;
    int cleared;
    socklen_t length = sizeof cleared;
    if (!neat_looks_first)
        libc(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &cleared, &length);
    uint32_t error = load(&end->shared->error);
    return error > 0 && error < 4096 ? (int)error : ECONNRESET;
}

/* The kernel closed what a dead process had; a replica that lives writes its reason first. */
void neat_reset_heard(struct endpoint *end) {
    if (endpoint_current(end) && !(load(&end->shared->status) & (NEAT_ST_ERROR | NEAT_ST_CLOSED)))
        store(&end->lost, 1);
}

/* Its replica is gone, or says things that cannot be. Linux reports a reset once; after that, `later`. */
int neat_gone(struct neat_socket *s, int later) {
    store(&s->end.lost, 1);
    if (swap(&s->reset_seen, 1))
        return later;
    tally(resets);
    return -ECONNRESET;
}
