/* What can be seen of a socket's state: TCP_INFO, SO_MEMINFO, FIONREAD's and SIOCOUTQ's numbers. */
#include <linux/tcp.h>

#include "data.h"

static uint8_t state(const struct neat_socket *s, const struct neat_sock *shared) {
    uint8_t seen = __atomic_load_n(&shared->tcp_state, __ATOMIC_RELAXED);
    bool over = !endpoint_current(&s->end) || endpoint_lost(&s->end) || endpoint_closed(&s->end);
    return over || !seen ? NEAT_TCP_CLOSED : seen;
}

int neat_tcp_info(struct neat_socket *s, struct tcp_info *info) {
    bool listens = load(&s->stage) == STAGE_LISTENING;
    *info = (struct tcp_info){.tcpi_state = listens ? NEAT_TCP_LISTEN : NEAT_TCP_CLOSED};
    if (!s->end.shared || !endpoint_current(&s->end))
        return 0;
    const struct neat_sock *shared = s->end.shared;
    uint32_t mss = load(&shared->snd_mss);
    uint64_t unacked = (uint64_t)neat_outq(s);
    info->tcpi_state = state(s, shared);
    info->tcpi_rto = load(&shared->rto_us);
    info->tcpi_rtt = load(&shared->rtt_us);
    info->tcpi_rttvar = load(&shared->rttvar_us);
    info->tcpi_snd_mss = info->tcpi_rcv_mss = info->tcpi_advmss = mss;
    info->tcpi_snd_cwnd = mss ? load(&shared->cwnd) / mss : 0;
    info->tcpi_snd_ssthresh = mss ? load(&shared->ssthresh) / mss : 0;
    info->tcpi_rcv_space = load(&shared->rcv_wnd);
    info->tcpi_unacked = mss ? (uint32_t)((unacked + mss - 1) / mss) : 0;
    info->tcpi_total_retrans = load(&shared->retransmits);
    info->tcpi_bytes_acked = load(&shared->tx_head);
    info->tcpi_bytes_received = load(&shared->rx_tail);
    info->tcpi_snd_wnd = load(&shared->snd_wnd);
    return 0;
}

int neat_inq(struct neat_socket *s) {
    if (s->type == SOCK_STREAM) {
        if (load(&s->stage) == STAGE_LISTENING)
            return -EINVAL;
        if (!s->end.shared || !endpoint_current(&s->end))
            return 0;
        uint64_t held = load(&s->end.shared->rx_tail) - load(&s->end.shared->rx_head);
        return held <= s->end.segment->rx_size ? (int)held : 0;
    }
    for (uint32_t i = 0; i < MAX_REPLICAS; i++) {
        const struct endpoint *end = neat_subsocket(s, (s->datagram.next_replica + i) % MAX_REPLICAS);
        struct neat_datagram header;
        if (!end || !endpoint_current(end))
            continue;
        uint64_t head = load(&end->shared->rx_head), held = load(&end->shared->rx_tail) - head;
        if (held < sizeof header || held > end->segment->rx_size)
            continue;
        neat_ring_peek(end->rx, end->segment->rx_size, head, &header, sizeof header);
        return header.length <= MAX_DATAGRAM ? (int)header.length : 0;
    }
    return 0;
}

int neat_outq(struct neat_socket *s) {
    if (!s->end.shared || !endpoint_current(&s->end))
        return 0;
    uint64_t used = load(&s->end.shared->tx_tail) - load(&s->end.shared->tx_head);
    return used <= s->end.segment->tx_size ? (int)used : 0;
}
