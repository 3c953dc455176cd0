"""Cython's view of channel.h; the C header is the truth."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "abi/channel.h" nogil:
    const uint32_t NEAT_CHANNEL_MAGIC, NEAT_CHANNEL_VERSION, NEAT_DIRTY_OFFSET, NEAT_SUMMARY_OFFSET, NEAT_SPARES_OFFSET
    const uint32_t NEAT_SOCKS_OFFSET, NEAT_MAX_SOCKS, NEAT_SHARED_SOCKS
    const uint64_t NEAT_SPARE_KEPT
    const uint32_t NEAT_EVENTS_OFFSET, NEAT_POLLERS, NEAT_OUT_WANTED, NEAT_NOBODY_YET, NEAT_OPT_OF_ACCEPT
    enum: NEAT_SOCK_FREE, NEAT_SOCK_TCP, NEAT_SOCK_LISTENER, NEAT_SOCK_UDP
    enum: NEAT_REQ_SHUT_WR, NEAT_REQ_SHUT_RD, NEAT_REQ_ABORT, NEAT_REQ_ACCEPTED, NEAT_REQ_RESIGNAL
    enum: NEAT_REQ_CLOSE, NEAT_REQ_TELL, NEAT_REQ_KEPT, NEAT_REQ_OFFER
    enum: NEAT_OPT_NODELAY, NEAT_OPT_CORK, NEAT_OPT_KEEPALIVE, NEAT_OPT_QUICKACK, NEAT_OPT_PEER
    enum: NEAT_OPT_BROADCAST, NEAT_OPT_LINGER, NEAT_OPT_NONBLOCK, NEAT_OPT_LOOKS, NEAT_OPT_KEEPS
    enum: NEAT_ST_CONNECTED, NEAT_ST_RDHUP, NEAT_ST_ERROR, NEAT_ST_CLOSED, NEAT_ST_CONNECTING, NEAT_ST_WRCLOSED, NEAT_ST_FIN
    enum: NEAT_ST_ORPHAN

    struct neat_addr:
        uint8_t family
        uint8_t protocol
        uint16_t port
        uint32_t scope
        uint8_t addr[16]

    struct neat_poller:
        uint32_t owner, asleep

    struct neat_channel:
        uint32_t magic, version
        uint32_t app, replica
        uint64_t incarnation
        uint32_t nsock
        uint32_t rx_size, tx_size
        uint32_t sleeping
        neat_poller pollers[24]
        uint64_t events[256]

    struct neat_sock:
        uint64_t tx_tail
        uint64_t rx_head
        uint32_t request
        uint32_t options
        uint32_t tx_lock, rx_lock
        uint32_t rcvbuf, sndbuf
        uint32_t linger_ms
        uint32_t user_timeout_ms
        uint32_t watcher
        uint32_t accepter
        neat_addr peer
        uint32_t keep_idle_s, keep_intvl_s, keep_cnt
        uint8_t tos, ttl, syn_retries
        uint32_t rcvlowat
        uint32_t maxseg
        uint64_t inode
        uint64_t kept
        uint64_t rx_tail
        uint64_t tx_head
        uint32_t status
        uint32_t error
        uint32_t error_count
        uint32_t generation
        uint8_t kind
        uint8_t tcp_state
        uint32_t drops
        neat_addr local, remote
        uint32_t rtt_us, rttvar_us
        uint32_t cwnd, snd_mss
        uint32_t in_token
        uint32_t out_block
        uint64_t brought, push_tail
        uint32_t retransmits, rto_us, snd_wnd, rcv_wnd, ssthresh, rcv_limit

    struct neat_datagram:
        uint32_t length
        uint32_t flags
        neat_addr addr

    uint32_t neat_spare_place(uint64_t name)
    uint64_t neat_rings_offset(uint32_t nsock)
    uint64_t neat_channel_bytes(uint32_t nsock, uint32_t rx_size, uint32_t tx_size)
    uint64_t neat_rx_offset(uint32_t nsock, uint32_t rx_size, uint32_t tx_size, uint32_t index)
    uint64_t neat_tx_offset(uint32_t nsock, uint32_t rx_size, uint32_t tx_size, uint32_t index)
