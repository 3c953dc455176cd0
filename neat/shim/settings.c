/* What the application has set on a socket, in the lines of its socket objects. */
#include "readiness.h"
#include "setup.h"

#define FIRST_RTO_S 1              /* of Linux's SYN-ACKs: they say what TCP_DEFER_ACCEPT can be */
#define MOST_RTO_S 120
#define MOST_SYNACKS 255

/* Bytes that may wait to be read; 0: as many as the ring holds. */
uint32_t neat_receive_limit(const struct settings *settings) {
    uint32_t clamp = settings->window_clamp;
    return clamp && (!settings->rcvbuf || clamp < settings->rcvbuf) ? clamp : settings->rcvbuf;
}

/* Write what was set into one socket object. */
static void write_lines(const struct neat_socket *s, const struct endpoint *end) {
    struct neat_sock *shared = end->shared;
    const struct settings *settings = &s->settings;
    uint32_t size = end->segment->rx_size;
    shared->rcvbuf = neat_receive_limit(settings);
    shared->sndbuf = settings->sndbuf;
    shared->linger_ms = settings->linger_ms;
    shared->user_timeout_ms = settings->user_timeout_ms;
    shared->keep_idle_s = settings->keep_idle_s;
    shared->keep_intvl_s = settings->keep_intvl_s;
    shared->keep_cnt = settings->keep_cnt;
    shared->maxseg = settings->maxseg;
    /* Linux: no more than half of the buffer, else it would wait for what can never be there. */
    size = (shared->rcvbuf && shared->rcvbuf < size ? shared->rcvbuf : size) / 2;
    shared->rcvlowat = settings->rcvlowat < size ? settings->rcvlowat : size;
    shared->tos = settings->tos;
    shared->ttl = settings->ttl;
    shared->syn_retries = (uint8_t)settings->syn_retries;
    if (settings->options & NEAT_OPT_PEER)
        shared->peer = s->setup.remote;
    store(&shared->options, settings->options);
}

/* After exec: what the program before had set. Private settings are the reverse of write_lines, as far as
 * they are in the lines. */
void neat_options_read(struct neat_socket *s, const struct neat_sock *shared) {
    struct settings *settings = &s->settings;
    settings->options = load(&shared->options);
    s->family = settings->options & NEAT_OPT_INET6 ? AF_INET6 : AF_INET;
    settings->rcvbuf = shared->rcvbuf;
    settings->sndbuf = shared->sndbuf;
    settings->linger_ms = shared->linger_ms;
    settings->user_timeout_ms = shared->user_timeout_ms;
    settings->keep_idle_s = shared->keep_idle_s;
    settings->keep_intvl_s = shared->keep_intvl_s;
    settings->keep_cnt = shared->keep_cnt;
    settings->maxseg = shared->maxseg;
    settings->rcvlowat = shared->rcvlowat;
    settings->tos = shared->tos;
    settings->ttl = shared->ttl;
    settings->syn_retries = shared->syn_retries;
}

/* To one endpoint; NULL: to all that the socket has, and tell their replicas. */
void neat_options_apply(struct neat_socket *s, const struct endpoint *end) {
    if (end) {
        write_lines(s, end);
        return;
    }
    if (endpoint_current(&s->end)) {
        write_lines(s, &s->end);
        neat_mark(&s->end);
        neat_ring(&s->end);
    }
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
        struct endpoint *part = neat_subsocket(s, replica);
        if (!part || !endpoint_current(part))
            continue;
        write_lines(s, part);
        neat_mark(part);
        neat_ring(part);
    }
}

/* tcp(7), TCP_DEFER_ACCEPT: rounded up to the time that so many SYN-ACKs take. */
uint32_t neat_synacks_of(int seconds) {
    int period = FIRST_RTO_S, timeout = FIRST_RTO_S;
    uint32_t count = seconds > 0;
    for (; count && seconds > period && count < MOST_SYNACKS; count++) {
        timeout = timeout * 2 > MOST_RTO_S ? MOST_RTO_S : timeout * 2;
        period += timeout;
    }
    return count;
}

uint32_t neat_defer_seconds(const struct neat_socket *s) {
    uint32_t timeout = FIRST_RTO_S, period = s->settings.defer_accept ? FIRST_RTO_S : 0;
    for (uint32_t i = 1; i < s->settings.defer_accept; i++) {
        timeout = timeout * 2 > MOST_RTO_S ? MOST_RTO_S : timeout * 2;
        period += timeout;
    }
    return period;
}
