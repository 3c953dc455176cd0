"""How long the engine takes for a request and its response, over frames made beforehand: no I/O, no process,
one thread.

Each of `connections` gets a request frame (its acknowledgment of the last response rides on it), the
application reads it and writes a response, and the engine sends that: one data segment in, one out. Only the
engine's own calls are timed."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from neat.abi.channel cimport (
    NEAT_DIRTY_OFFSET, NEAT_SOCKS_OFFSET, NEAT_SUMMARY_OFFSET, neat_addr, neat_channel_bytes, neat_sock,
)
from neat.shm.atomic cimport fetch_or64, load64, store64
from neat.shm.filter cimport FilterView
from neat.shm.ring cimport MAX_RECORD, RECORD_FRAME
from neat.stack.config cimport EV_ACCEPT, OFFLOAD_CSUM, OFFLOAD_TSO4
from neat.stack.engine cimport (
    Event, Stack, StackConfig, stack_channel_attach, stack_create, stack_destroy, stack_expire, stack_filter,
    stack_frame_arrives, stack_listen, stack_next_deadline, stack_poll_event, stack_poll_transmit,
    stack_scan_channel, stack_state_bytes,
)
from neat.wire.checksum cimport checksum_add, checksum_fold
from neat.wire.headers cimport (
    ETHERTYPE_IPV4, TCP_ACK, TCP_PSH, TCP_SYN, EthernetHeader, Ipv4Header, TcpHeader, htonl, htons, ntohl,
)
from neat.wire.vnet cimport VNET_BYTES, VNET_F_NEEDS_CSUM, VnetHeader

cdef enum:
    APP = 1
    LISTENER = 3
    PORT = 80
    NSOCK = 1024
    RING = 1 << 16
    L4 = VNET_BYTES + 34
    STAMPS = 12                     # bytes of the timestamp option

cdef struct Peer:
    uint32_t seq, ack
    uint32_t sock
    uint16_t port
    uint32_t tsecr
    uint8_t frame[2048]
    uint32_t length


cdef uint64_t nanoseconds() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef class Bench:
    """`connections` established connections; run() plays rounds of requests over all of them."""

    cdef Stack* stack
    cdef uint8_t* state
    cdef uint8_t* channel
    cdef uint8_t* buffer
    cdef Peer* peers
    cdef uint32_t connections, request, response
    cdef uint64_t now, timed
    cdef bint stamps
    cdef FilterView filter

    def __cinit__(
        self, uint32_t connections=64, uint32_t request=100, uint32_t response=200, bint timestamps=True
    ):
        cdef StackConfig config
        cdef neat_addr local
        cdef uint64_t size
        if not 0 < connections <= NSOCK - 256 or not 0 < request <= 1400 or not 0 < response <= 1400:
            raise ValueError("1 to 768 connections, 1 to 1400 bytes")
        memset(&config, 0, sizeof(config))
        memcpy(config.mac, b"\x02\x4e\x00\x00\x00\x02", 6)
        memcpy(config.address, b"\x0a\x4d\x00\x02", 4)
        config.prefix, config.mtu, config.replicas = 24, 1500, 1
        config.port_low, config.port_high = 32768, 60999
        config.max_connections, config.max_listeners, config.max_udp = 1024, 4, 4
        config.offloads = OFFLOAD_CSUM | OFFLOAD_TSO4
        config.time_wait_ms, config.delayed_ack_ms = 60000, 40
        config.min_rto_ms, config.max_rto_ms = 200, 120000
        config.syn_retries, config.data_retries = 6, 15
        self.connections, self.request, self.response = connections, request, response
        self.stamps = timestamps
        self.now = 1000000000
        size = stack_state_bytes(&config)
        self.state = <uint8_t*>calloc(1, size)
        self.channel = <uint8_t*>calloc(1, neat_channel_bytes(NSOCK, RING, RING))
        self.buffer = <uint8_t*>calloc(1, MAX_RECORD)
        self.peers = <Peer*>calloc(connections, sizeof(Peer))
        if self.state is NULL or self.channel is NULL or self.buffer is NULL or self.peers is NULL:
            raise MemoryError
        self.stack = stack_create(&config, self.state, size, self.now)
        if self.stack is NULL:
            raise MemoryError
        memset(&local, 0, sizeof(local))
        local.port = PORT
        if stack_channel_attach(self.stack, APP, self.channel, NSOCK, RING, RING) or stack_listen(
            self.stack, APP, LISTENER, &local, connections, 0
        ):
            raise RuntimeError("the engine refuses the bench's channel")
        for i in range(connections):
            self._open(i)

    def __dealloc__(self):
        if self.stack is not NULL:
            stack_destroy(self.stack)
        free(self.state)
        free(self.channel)
        free(self.buffer)
        free(self.peers)

    cdef void _build(self, Peer* peer, uint8_t flags, uint32_t text) noexcept nogil:
        """A frame of the peer with what it knows now; the checksum is left to the device that verified it."""
        cdef VnetHeader* vnet = <VnetHeader*>peer.frame
        cdef EthernetHeader* eth = <EthernetHeader*>(peer.frame + VNET_BYTES)
        cdef Ipv4Header* ip = <Ipv4Header*>(peer.frame + VNET_BYTES + 14)
        cdef TcpHeader* tcp = <TcpHeader*>(peer.frame + L4)
        cdef uint8_t* option = peer.frame + L4 + 20
        cdef uint32_t header = 20 + (STAMPS if self.stamps else 0)
        memset(peer.frame, 0, L4 + header)
        vnet.flags = VNET_F_NEEDS_CSUM
        vnet.csum_start, vnet.csum_offset = L4 - VNET_BYTES, 16
        memcpy(eth.destination, b"\x02\x4e\x00\x00\x00\x02", 6)
        memcpy(eth.source, b"\x02\x4e\x00\x00\x00\x01", 6)
        eth.ethertype = htons(ETHERTYPE_IPV4)
        ip.version_ihl, ip.ttl, ip.protocol = 0x45, 64, 6
        ip.total_length = htons(<uint16_t>(20 + header + text))
        memcpy(ip.source, b"\x0a\x4d\x00\x01", 4)
        memcpy(ip.destination, b"\x0a\x4d\x00\x02", 4)
        ip.checksum = <uint16_t>~checksum_fold(checksum_add(<uint8_t*>ip, 20, 0))
        tcp.source_port, tcp.destination_port = htons(peer.port), htons(PORT)
        tcp.sequence, tcp.acknowledgment = htonl(peer.seq), htonl(peer.ack)
        tcp.offset_reserved = <uint8_t>(header // 4 << 4)
        tcp.flags = flags
        tcp.window = htons(60000)
        if self.stamps:
            memcpy(option, b"\x01\x01\x08\x0a", 4)
            (<uint32_t*>(option + 4))[0] = htonl(<uint32_t>(self.now // 1000000))
            (<uint32_t*>(option + 8))[0] = htonl(peer.tsecr)
        peer.length = L4 + header + text

    cdef uint32_t _transmit(self) noexcept nogil:
        """The next TCP frame of the stack; 0 when there is none."""
        cdef uint16_t kind = 0
        cdef uint32_t length = stack_poll_transmit(self.stack, self.buffer, &kind, self.now)
        cdef uint8_t* ethertype = self.buffer + VNET_BYTES + 12
        while length and (kind != RECORD_FRAME or ethertype[0] != 8 or ethertype[1] != 0):
            length = stack_poll_transmit(self.stack, self.buffer, &kind, self.now)
        return length

    cdef _open(self, uint32_t i):
        cdef Peer* peer = &self.peers[i]
        cdef Event event
        peer.port = <uint16_t>(20000 + i)
        peer.seq = 1000 * i
        self._build(peer, TCP_SYN, 0)
        stack_frame_arrives(self.stack, peer.frame, peer.length, 0, 0, self.now)
        if not self._transmit():
            self._learn_neighbour()
            if not self._transmit():
                raise RuntimeError("no SYN-ACK")
        peer.seq += 1
        peer.ack = ntohl((<TcpHeader*>(self.buffer + L4)).sequence) + 1
        self._build(peer, TCP_ACK, 0)
        stack_frame_arrives(self.stack, peer.frame, peer.length, 0, 0, self.now)
        while stack_poll_event(self.stack, &event):
            if event.kinds & EV_ACCEPT:
                peer.sock = event.sock

    cdef _learn_neighbour(self):
        """Answer the ARP request that waits."""
        cdef bytes reply = bytes(10) + bytes.fromhex(
            "024e00000002" "024e00000001" "0806" "0001" "0800" "06" "04" "0002"
            "024e00000001" "0a4d0001" "024e00000002" "0a4d0002"
        )
        memcpy(self.buffer, <const char*>reply, len(reply))
        stack_frame_arrives(self.stack, self.buffer, <uint32_t>len(reply), 0, 0, self.now)

    cdef void _serve(self, Peer* peer) noexcept nogil:
        """The application: take the request, put the response, as the client core does."""
        cdef neat_sock* sock = <neat_sock*>(self.channel + NEAT_SOCKS_OFFSET + peer.sock * sizeof(neat_sock))
        cdef uint64_t* dirty = <uint64_t*>(self.channel + NEAT_DIRTY_OFFSET)
        cdef uint64_t* summary = <uint64_t*>(self.channel + NEAT_SUMMARY_OFFSET)
        store64(&sock.rx_head, load64(&sock.rx_tail))
        store64(&sock.tx_tail, sock.tx_tail + self.response)
        fetch_or64(&dirty[peer.sock >> 6], <uint64_t>1 << (peer.sock & 63))
        fetch_or64(&summary[peer.sock >> 12], <uint64_t>1 << ((peer.sock >> 6) & 63))

    cdef uint32_t _round(self) noexcept nogil:
        """One request on every connection. Returns how many were answered."""
        cdef uint64_t start
        cdef uint32_t i, length, answered = 0
        cdef Event event
        cdef uint16_t kind
        self.now += 100000
        for i in range(self.connections):
            self._build(&self.peers[i], TCP_ACK | TCP_PSH, self.request)
            self.peers[i].seq += self.request
        start = nanoseconds()
        for i in range(self.connections):
            stack_frame_arrives(self.stack, self.peers[i].frame, self.peers[i].length, 0, 0, self.now)
        while stack_poll_event(self.stack, &event):
            pass
        self.timed += nanoseconds() - start
        for i in range(self.connections):
            self._serve(&self.peers[i])
        start = nanoseconds()
        stack_scan_channel(self.stack, APP, self.connections, self.now)
        stack_expire(self.stack, self.now)
        while True:
            length = stack_poll_transmit(self.stack, self.buffer, &kind, self.now)
            if length == 0:
                break
            if kind == RECORD_FRAME and length == L4 + 20 + (STAMPS if self.stamps else 0) + self.response:
                answered += 1
        stack_next_deadline(self.stack)
        self.timed += nanoseconds() - start
        for i in range(self.connections):
            self.peers[i].ack += self.response
        return answered

    def use_filter(self, int rules_fd, int track_fd):
        """Have packets go through a filter, by its segments (neat/shm/filter.pyx)."""
        view = self.filter = FilterView(rules_fd, track_fd, 0)
        if stack_filter(self.stack, view.header, view.rates, view.own, view.areas, view.area, view.count) < 0:
            raise MemoryError

    def run(self, uint32_t rounds):
        """Nanoseconds of the engine for one request and its response, averaged."""
        cdef uint32_t _round
        cdef uint64_t answered = 0
        self.timed = 0
        with nogil:
            for _round in range(rounds):
                answered += self._round()
        if answered != <uint64_t>rounds * self.connections:
            raise RuntimeError(f"{answered} responses to {rounds * self.connections} requests")
        return self.timed / answered
