"""One engine with an application's channel, for Python to drive: tests, the network simulator,
micro-benchmarks.

The laboratory plays the replica process (it passes frames, time and commands in), and the application too: it
reads and writes the channel as the client core does. Nothing here is used by a running stack."""
import mmap
import socket
from array import array
from collections import namedtuple

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec
from neat.abi.channel cimport (
    NEAT_CHANNEL_MAGIC, NEAT_CHANNEL_VERSION, NEAT_DIRTY_OFFSET, NEAT_SOCKS_OFFSET, NEAT_SUMMARY_OFFSET,
    neat_addr, neat_channel, neat_channel_bytes, neat_datagram, neat_rx_offset, neat_sock, neat_tx_offset,
)
from neat.shm.atomic cimport exchange32, fetch_or32, fetch_or64, load64, store64
from neat.shm.filter cimport FilterView
from neat.shm.ring cimport MAX_RECORD
from neat.stack.engine cimport (
    PART_WHOLE, ConnInfo, ConnectWishes, Event, Stack, StackConfig, Suspect, stack_adopt,
    stack_channel_attach, stack_channel_detach, stack_channel_pending, stack_channel_users, stack_close,
    stack_conn_info, stack_connect, stack_counters, stack_create, stack_destroy, stack_expire, stack_filter,
    stack_flow_lost, stack_forward, stack_frame_arrives, stack_handed_up, stack_has_past, stack_listen,
    stack_narrow_ports, stack_next_deadline, stack_own_frame_arrives, stack_poll_event, stack_poll_transmit,
    stack_poll_up, stack_ports_in_use, stack_recover, stack_resume_position, stack_scan_channel,
    stack_set_backlog, stack_set_defer, stack_share_ports, stack_state_bytes, stack_strike, stack_udp_bind,
    stack_udp_unbind, stack_unlisten, stack_waiting_info,
)
from neat.stack.state cimport StateHeader, WaitSlot
from neat.wire.headers cimport htonl
from neat.wire.vnet cimport VNET_BYTES, VNET_F_DATA_VALID, VnetHeader

from neat.abi import layout
from neat.stack.counters import Counter

LabEvent = namedtuple("LabEvent", "kinds app sock generation conn error listener_sock touched")

RECORD_BYTES = MAX_RECORD

cdef enum:
    APP = 1                         # the application's id

cdef neat_addr _address(str host, uint16_t port) except *:
    cdef neat_addr addr
    cdef bytes packed = socket.inet_aton(host)
    memset(&addr, 0, sizeof(addr))
    addr.family = 4
    addr.port = port
    memcpy(addr.addr, <const char*>packed, 4)
    return addr


cdef tuple _pair(const neat_addr* addr):
    return socket.inet_ntoa((<const char*>addr.addr)[:4]), addr.port


cdef class Lab:
    """An engine, its private state memory, and the channel of one application, whose id is APP.

    `now` (ns) only moves when the caller moves it. Errors of the engine come as OSError.
    """

    cdef Stack* stack
    cdef StackConfig config
    cdef uint8_t* memory
    cdef uint32_t nsock, rx_size, tx_size
    cdef uint8_t[:] _state_view, _channel_view
    cdef uint8_t _buffer[MAX_RECORD]
    cdef readonly object state, channel
    cdef FilterView filter
    cdef public uint64_t now
    cdef readonly uint64_t position     # in a receive ring that counts records instead of bytes

    def __cinit__(
        self,
        *,
        str address="10.77.0.2",
        int prefix=24,
        str gateway="10.77.0.1",
        bytes mac=b"\x02\x4e\x00\x00\x00\x02",
        int mtu=1500,
        int replica=0,
        int replicas=1,
        port_range=(32768, 60999),
        int max_connections=64,
        int max_listeners=16,
        int max_udp=16,
        int offloads=0,
        int time_wait_ms=60_000,
        int min_rto_ms=200,
        int max_rto_ms=120_000,
        int delayed_ack_ms=40,
        int syn_retries=6,
        int data_retries=15,
        bytes secret=bytes(32),
        bint poison=False,
        int part=PART_WHOLE,
        uint32_t nsock=512,
        uint32_t rx_size=1 << 16,
        uint32_t tx_size=1 << 16,
        uint64_t now=1_000_000_000,
    ):
        config = &self.config
        if len(mac) != 6 or len(secret) != 32:
            raise ValueError("mac is 6 bytes, secret 32")
        memset(config, 0, sizeof(StackConfig))
        memcpy(config.mac, <const char*>mac, 6)
        memcpy(config.secret, <const char*>secret, 32)
        memcpy(config.address, _address(address, 0).addr, 4)
        memcpy(config.gateway, _address(gateway, 0).addr, 4)
        config.prefix = prefix
        config.mtu = mtu
        config.replica, config.replicas = replica, replicas
        config.port_low, config.port_high = port_range
        config.max_connections, config.max_listeners, config.max_udp = max_connections, max_listeners, max_udp
        config.offloads = offloads
        config.poison = poison
        config.part = part
        config.time_wait_ms, config.delayed_ack_ms = time_wait_ms, delayed_ack_ms
        config.min_rto_ms, config.max_rto_ms = min_rto_ms, max_rto_ms
        config.syn_retries, config.data_retries = syn_retries, data_retries
        self.now = now
        self.nsock, self.rx_size, self.tx_size = nsock, rx_size, tx_size
        self.state = mmap.mmap(-1, (stack_state_bytes(config) + 4095) & ~<uint64_t>4095)
        self._state_view = self.state
        self._create()
        self._attach()

    cdef _create(self):
        self.stack = stack_create(&self.config, &self._state_view[0], len(self.state), self.now)
        if self.stack is NULL:
            raise ValueError("the engine refuses this configuration")
        self._use_filter()

    cdef _attach(self):
        cdef neat_channel* header
        self.channel = mmap.mmap(-1, neat_channel_bytes(self.nsock, self.rx_size, self.tx_size))
        self._channel_view = self.channel
        self.memory = &self._channel_view[0]
        header = <neat_channel*>self.memory
        header.magic, header.version = NEAT_CHANNEL_MAGIC, NEAT_CHANNEL_VERSION
        header.app, header.incarnation = APP, 1
        header.nsock, header.rx_size, header.tx_size = self.nsock, self.rx_size, self.tx_size
        _check(stack_channel_attach(self.stack, APP, self.memory, self.nsock, self.rx_size, self.tx_size))

    def __dealloc__(self):
        if self.stack is not NULL:
            stack_destroy(self.stack)

    def use_filter(self, int filter_fd, int track_fd, int first_slot=0):
        """Have packets go through a filter, by its segments (neat/shm/filter.pyx); also in a successor.
        `first_slot`: of replica 0, or of its part that this is."""
        self.filter = FilterView(filter_fd, track_fd, first_slot + self.config.replica)
        self._use_filter()

    cdef _use_filter(self):
        view = self.filter
        if view is not None:
            status = stack_filter(
                self.stack, view.header, view.rates, view.own, view.areas, view.area, view.count
            )
            _check(status)

    @property
    def has_past(self):
        return bool(stack_has_past(self.stack))

    def crash(self, attach=True, guilty=None):
        """The replica dies here, and a successor goes on with the state and, if it is to `attach`, the
        channel. `guilty`: what it died of was done for this connection. Returns how many go on."""
        cdef Suspect suspect
        stack_destroy(self.stack)
        self.stack = NULL
        self._create()
        if attach:
            _check(stack_channel_attach(self.stack, APP, self.memory, self.nsock, self.rx_size, self.tx_size))
        self.position = stack_resume_position(self.stack, &suspect)
        if guilty is not None:
            stack_strike(self.stack, guilty, self.now)
        return _check(stack_recover(self.stack, self.now))

    # The replica's side
    # ---------------------------------------------------------------------------------------------

    def arrive(
        self, bytes frame, *, uint8_t flags=0, uint8_t gso_type=0, uint16_t hdr_len=0, uint16_t gso_size=0,
        uint16_t csum_start=0, uint16_t csum_offset=0
    ):
        """An Ethernet frame comes in, with this virtio-net header before it."""
        cdef VnetHeader* vnet = <VnetHeader*>self._buffer
        cdef uint32_t length = <uint32_t>len(frame)
        if length + VNET_BYTES > MAX_RECORD:
            raise ValueError("longer than a record")
        vnet.flags, vnet.gso_type, vnet.hdr_len, vnet.gso_size = flags, gso_type, hdr_len, gso_size
        vnet.csum_start, vnet.csum_offset = csum_start, csum_offset
        memcpy(self._buffer + VNET_BYTES, <const char*>frame, length)
        self._arrive(length + VNET_BYTES)

    cdef void _arrive(self, uint32_t length):
        self.position += 1
        stack_frame_arrives(self.stack, self._buffer, length, self.position - 1, self.position, self.now)

    def arrive_record(self, bytes record):
        """A record comes in as it is: any bytes, the virtio-net header included."""
        if len(record) > MAX_RECORD:
            raise ValueError("longer than a record")
        memcpy(self._buffer, <const char*>record, len(record))
        self._arrive(<uint32_t>len(record))

    def arrive_own_record(self, bytes record):
        """A record that the driver has turned round: the engine sent it to its own address."""
        if len(record) > MAX_RECORD:
            raise ValueError("longer than a record")
        memcpy(self._buffer, <const char*>record, len(record))
        self.position += 1
        stack_own_frame_arrives(
            self.stack, self._buffer, <uint32_t>len(record), self.position - 1, self.position, self.now
        )

    @property
    def handed_up(self):
        """Of an IP component: the protocol of the component that the last record goes up to; 0: none."""
        return stack_handed_up(self.stack)

    def forward(self, bytes record, uint8_t protocol):
        """A record of the component of that protocol, as it leaves; None when it was kept back or dropped."""
        if len(record) > MAX_RECORD:
            raise ValueError("longer than a record")
        memcpy(self._buffer, <const char*>record, len(record))
        if not stack_forward(self.stack, self._buffer, <uint32_t>len(record), protocol, self.now):
            return None
        return (<const char*>self._buffer)[: len(record)]

    def poll_up(self):
        """What transport components are told: a list of (protocol, record)."""
        cdef uint8_t protocol = 0
        cdef list out = []
        while True:
            length = stack_poll_up(self.stack, self._buffer, &protocol)
            if length == 0:
                return out
            out.append((protocol, (<const char*>self._buffer)[:length]))

    def flow_lost(self, bytes payload):
        """The driver says that another replica has lost this connection (a FlowKey)."""
        stack_flow_lost(self.stack, <const uint8_t*><const char*>payload, <uint32_t>len(payload), self.now)

    def strike(self, uint32_t conn):
        """A successor: the process before died with this connection in its hands. Whether it is reset."""
        return bool(stack_strike(self.stack, conn, self.now))

    def transmit(self, int limit=1 << 30):
        """What the engine wants to send now: a list of (RecordType, payload); a frame's payload starts with
        its virtio-net header."""
        cdef uint16_t kind = 0
        cdef uint32_t length
        cdef list out = []
        while limit > 0:
            length = stack_poll_transmit(self.stack, self._buffer, &kind, self.now)
            if length == 0:
                break
            if length > MAX_RECORD:
                raise AssertionError(f"the engine sent a record of {length} bytes")
            out.append((kind, (<const char*>self._buffer)[:length]))
            limit -= 1
        return out

    def events(self):
        """The events since the last call, as LabEvents."""
        cdef Event event
        cdef list out = []
        memset(&event, 0, sizeof(event))
        while stack_poll_event(self.stack, &event):
            out.append(
                LabEvent(
                    event.kinds, event.app, event.sock, event.generation, event.conn, event.error,
                    event.listener_sock, event.touched,
                )
            )
        return out

    def advance(self, uint64_t ns=0):
        """Move the clock and let timers expire."""
        self.now += ns
        stack_expire(self.stack, self.now)

    @property
    def deadline(self):
        """When `advance` is due next (ns), None if never."""
        cdef uint64_t deadline = stack_next_deadline(self.stack)
        return None if deadline == <uint64_t>-1 else deadline

    def scan(self, uint32_t budget=1 << 30):
        """Carry out what the application asked for; returns the number of sockets looked at."""
        return stack_scan_channel(self.stack, APP, budget, self.now)

    @property
    def pending(self):
        return bool(stack_channel_pending(self.stack, APP))

    @property
    def users(self):
        """Sockets of the channel that are in use."""
        return stack_channel_users(self.stack, APP)

    def listen(
        self, uint32_t sock, uint16_t port, *, str address="0.0.0.0", uint32_t backlog=16, uint32_t flags=0
    ):
        cdef neat_addr local = _address(address, port)
        _check(stack_listen(self.stack, APP, sock, &local, backlog, flags))

    def set_backlog(self, uint32_t sock, uint32_t backlog):
        _check(stack_set_backlog(self.stack, APP, sock, backlog))

    def set_defer(self, uint32_t sock, uint32_t seconds):
        """TCP_DEFER_ACCEPT."""
        _check(stack_set_defer(self.stack, APP, sock, seconds))

    def unlisten(self, uint32_t sock):
        _check(stack_unlisten(self.stack, APP, sock, self.now))

    def connect(self, str address, uint16_t port, *, uint16_t local_port=0, **wishes):
        """Active open, with fields of ConnectWishes; returns the connection's index."""
        cdef neat_addr local = _address("0.0.0.0", local_port), remote = _address(address, port)
        cdef ConnectWishes wanted = {"options": 0, "maxseg": 0, "rcvbuf": 0, "tos": 0, "ttl": 0} | wishes
        return _check(stack_connect(self.stack, APP, &local, &remote, &wanted, self.now))

    def share_ports(self, uint32_t rank, uint32_t replicas, held=()):
        """There are so many replicas now, and others have connections from the ports in `held`."""
        cdef uint64_t bits[1024]
        memset(bits, 0, sizeof(bits))
        for port in held:
            bits[<uint16_t>port >> 6] |= <uint64_t>1 << (<uint16_t>port & 63)
        _check(stack_share_ports(self.stack, rank, replicas, bits))

    def narrow_ports(self, uint32_t rank, uint32_t replicas):
        """There will be so many; the ports from which this one has connections."""
        cdef uint64_t used[1024]
        _check(stack_narrow_ports(self.stack, rank, replicas))
        stack_ports_in_use(self.stack, used)
        return {port for port in range(1 << 16) if used[port >> 6] >> (port & 63) & 1}

    def udp_bind(self, uint32_t sock, uint16_t port, *, str address="0.0.0.0", uint32_t flags=0):
        cdef neat_addr local = _address(address, port)
        _check(stack_udp_bind(self.stack, APP, sock, &local, flags))

    def udp_unbind(self, uint32_t sock):
        _check(stack_udp_unbind(self.stack, APP, sock))

    def close(self, int32_t conn):
        """The last descriptor of the connection was closed."""
        stack_close(self.stack, conn, self.now)

    def detach(self):
        """The application is gone."""
        stack_channel_detach(self.stack, APP)

    def conn_info(self, int32_t conn):
        """The connection's ConnInfo as a dict; None when there is no such connection."""
        cdef ConnInfo info
        if stack_conn_info(self.stack, conn, &info) < 0:
            return None
        return {
            "app": info.app, "sock": info.sock, "generation": info.generation, "state": info.state,
            "passive": bool(info.passive), "accepted": bool(info.accepted),
            "local": _pair(&info.local), "remote": _pair(&info.remote),
            "iss": info.iss, "irs": info.irs,
            "snd_una": info.snd_una, "snd_nxt": info.snd_nxt, "rcv_nxt": info.rcv_nxt,
            "snd_wnd": info.snd_wnd, "rcv_wnd": info.rcv_wnd, "cwnd": info.cwnd, "ssthresh": info.ssthresh,
            "mss": info.mss, "srtt_us": info.srtt_us, "rto_us": info.rto_us, "retransmits": info.retransmits,
        }

    def waiting(self):
        """The connections that hold no slot any more, in TIME-WAIT or FIN-WAIT-2, as (state, local,
        remote)."""
        cdef ConnInfo info
        cdef uint32_t at = stack_waiting_info(self.stack, 0, &info)
        out = []
        while at:
            out.append((info.state, _pair(&info.local), _pair(&info.remote)))
            at = stack_waiting_info(self.stack, at, &info)
        return out

    def adopt(self, Lab other):
        """Go on with the TIME-WAITs of another engine. How many entries of its table were looked at."""
        cdef StateHeader* header = <StateHeader*>&other._state_view[0]
        waits = <WaitSlot*>&other._state_view[header.waits]
        return stack_adopt(self.stack, waits, header.waits_used, self.now)

    def counters(self):
        """The counters that are not zero, by name."""
        cdef uint64_t* values = stack_counters(self.stack)
        return {counter.name: values[<int>counter.value] for counter in Counter if values[<int>counter.value]}

    # The application's side
    # -----------------------------------------------------------------------------------------

    cdef neat_sock* _sock(self, uint32_t sock) except NULL:
        if sock >= self.nsock:
            raise IndexError(sock)
        return <neat_sock*>(self.memory + NEAT_SOCKS_OFFSET + sock * sizeof(neat_sock))

    cdef void _copy(
        self, uint64_t ring, uint32_t size, uint64_t offset, uint8_t* data, uint32_t length, bint into
    ) noexcept nogil:
        """Copy between a ring of the channel and flat memory; the ring's part may wrap."""
        cdef uint32_t start = <uint32_t>(offset & (size - 1))
        cdef uint32_t first = min(length, size - start)
        cdef uint8_t* base = self.memory + ring
        if into:
            memcpy(base + start, data, first)
            memcpy(base, data + first, length - first)
        else:
            memcpy(data, base + start, first)
            memcpy(data + first, base, length - first)

    def dirty(self, uint32_t sock):
        """Set the socket's dirty bit, then its summary bit."""
        self._dirty(sock)

    cdef void _dirty(self, uint32_t sock) noexcept nogil:
        cdef uint64_t* bitmap = <uint64_t*>(self.memory + NEAT_DIRTY_OFFSET)
        cdef uint64_t* summary = <uint64_t*>(self.memory + NEAT_SUMMARY_OFFSET)
        fetch_or64(&bitmap[sock >> 6], <uint64_t>1 << (sock & 63))
        fetch_or64(&summary[sock >> 12], <uint64_t>1 << ((sock >> 6) & 63))

    def send(self, uint32_t sock, bytes data):
        """Put data into the transmit ring; returns how many bytes found room."""
        cdef neat_sock* s = self._sock(sock)
        cdef uint64_t used = s.tx_tail - load64(&s.tx_head)
        cdef uint32_t n = 0 if used > self.tx_size else <uint32_t>min(
            <uint64_t>len(data), self.tx_size - used
        )
        if n:
            self._copy(neat_tx_offset(self.nsock, self.rx_size, self.tx_size, sock), self.tx_size, s.tx_tail,
                       <uint8_t*><const char*>data, n, True)
            store64(&s.tx_tail, s.tx_tail + n)
            self.dirty(sock)
        return n

    def recv(self, uint32_t sock, uint32_t limit=1 << 30):
        """Take what is in the receive ring, as the client core does: then the replica may open the window."""
        cdef neat_sock* s = self._sock(sock)
        cdef uint64_t ready = load64(&s.rx_tail) - s.rx_head
        cdef uint32_t n = <uint32_t>min(ready, <uint64_t>limit)
        cdef bytes out
        if ready > self.rx_size:
            raise AssertionError(f"sock {sock}: {ready} bytes ready in a ring of {self.rx_size}")
        if n == 0:
            return b""
        out = bytes(n)
        self._copy(neat_rx_offset(self.nsock, self.rx_size, self.tx_size, sock), self.rx_size, s.rx_head,
                   <uint8_t*><const char*>out, n, False)
        store64(&s.rx_head, s.rx_head + n)
        self.dirty(sock)
        return out

    def send_datagram(self, uint32_t sock, bytes data, str address="0.0.0.0", uint16_t port=0):
        """Queue one datagram; False when the ring has no room for it."""
        cdef neat_sock* s = self._sock(sock)
        cdef neat_datagram head
        cdef uint64_t ring = neat_tx_offset(self.nsock, self.rx_size, self.tx_size, sock)
        cdef uint32_t room = (sizeof(head) + <uint32_t>len(data) + 7) & ~<uint32_t>7
        if s.tx_tail - load64(&s.tx_head) + room > self.tx_size:
            return False
        memset(&head, 0, sizeof(head))
        head.length = <uint32_t>len(data)
        head.addr = _address(address, port)
        self._copy(ring, self.tx_size, s.tx_tail, <uint8_t*>&head, sizeof(head), True)
        payload = <uint8_t*><const char*>data
        self._copy(ring, self.tx_size, s.tx_tail + sizeof(head), payload, <uint32_t>len(data), True)
        store64(&s.tx_tail, s.tx_tail + room)
        self.dirty(sock)
        return True

    def recv_datagram(self, uint32_t sock):
        """Take one datagram: (data, (address, port)), None when there is none."""
        cdef neat_sock* s = self._sock(sock)
        cdef neat_datagram head
        cdef uint64_t ring = neat_rx_offset(self.nsock, self.rx_size, self.tx_size, sock)
        cdef bytes out
        if load64(&s.rx_tail) == s.rx_head:
            return None
        self._copy(ring, self.rx_size, s.rx_head, <uint8_t*>&head, sizeof(head), False)
        if head.length > self.rx_size:
            raise AssertionError(f"sock {sock}: a datagram of {head.length} bytes")
        out = bytes(head.length)
        payload = <uint8_t*><const char*>out
        self._copy(ring, self.rx_size, s.rx_head + sizeof(head), payload, head.length, False)
        store64(&s.rx_head, s.rx_head + ((sizeof(head) + head.length + 7) & ~<uint64_t>7))
        self.dirty(sock)
        return out, _pair(&head.addr)

    def rx_ring(self, uint32_t sock):
        """Where the socket's receive ring starts in `channel`."""
        return neat_rx_offset(self.nsock, self.rx_size, self.tx_size, sock)

    def tx_ring(self, uint32_t sock):
        return neat_tx_offset(self.nsock, self.rx_size, self.tx_size, sock)

    def set_peer(self, uint32_t sock, str address, uint16_t port):
        """The address that NEAT_OPT_PEER makes valid."""
        self._sock(sock).peer = _address(address, port)

    def request(self, uint32_t sock, uint32_t bits):
        """Ask for something: bits of enum neat_request."""
        fetch_or32(&self._sock(sock).request, bits)
        self.dirty(sock)

    def take_token(self, uint32_t sock):
        """Clear in_token, as the client core does when it has read the wake-up byte; returns what it was."""
        return exchange32(&self._sock(sock).in_token, 0)

    def peek(self, uint32_t sock, str field):
        """A field of struct neat_sock, by name."""
        return layout.neat_sock.get(self.channel, field, layout.sock_offset(sock))

    def poke(self, uint32_t sock, str field, value):
        """Write a field of struct neat_sock without asking anyone; sets the dirty bit."""
        layout.neat_sock.put(self.channel, field, value, layout.sock_offset(sock))
        self.dirty(sock)

    # Measuring
    # ---------------------------------------------------------------------------------------------

    def serve(
        self, list conns, list headers, bytes request, bytes response, uint32_t rounds, uint64_t step=20_000
    ):
        """CPU time (ns) that the engine takes for `rounds` request-response pairs on each of these
        established connections.

        headers: for each connection the peer's Ethernet, IPv4 and TCP headers of a request (54 bytes, lengths
        filled in). The device vouches for the checksums, so OFFLOAD_CSUM must be on. Each response carries
        the ACK, as each request does. `step`: virtual ns between two requests. The playing application, which
        copies and sets dirty bits, is inside the measured time."""
        cdef uint32_t n = <uint32_t>len(conns), i, length
        cdef uint32_t request_bytes = <uint32_t>len(request), response_bytes = <uint32_t>len(response)
        cdef uint32_t[:] seq = array("I", bytes(4 * n))
        cdef uint32_t[:] ack = array("I", bytes(4 * n))
        cdef uint32_t[:] socks = array("I", bytes(4 * n))
        cdef bytearray frames = bytearray(n * 2048)
        cdef uint8_t[:] frame = frames
        cdef uint8_t* record
        cdef uint8_t* data = <uint8_t*><const char*>response
        cdef neat_sock* sock
        cdef VnetHeader* vnet
        cdef Event event
        cdef uint16_t kind = 0
        cdef ConnInfo info
        cdef timespec before, after
        cdef uint64_t sent = 0
        for i in range(n):
            _check(stack_conn_info(self.stack, conns[i], &info))
            seq[i], ack[i], socks[i] = info.rcv_nxt, info.snd_nxt, info.sock
            frames[i * 2048 + 10 : i * 2048 + 64] = headers[i]
            frames[i * 2048 + 64 : i * 2048 + 64 + request_bytes] = request
            vnet = <VnetHeader*>&frame[i * 2048]
            vnet.flags = VNET_F_DATA_VALID
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before)
        with nogil:
            for _round in range(rounds):
                for i in range(n):
                    record = &frame[i * 2048]
                    (<uint32_t*>(record + 48))[0] = htonl(seq[i])
                    (<uint32_t*>(record + 52))[0] = htonl(ack[i])
                    seq[i] += request_bytes
                    ack[i] += response_bytes
                    self.now += step
                    stack_frame_arrives(self.stack, record, 64 + request_bytes, 0, 0, self.now)
                    while stack_poll_event(self.stack, &event):
                        pass
                    sock = <neat_sock*>(self.memory + NEAT_SOCKS_OFFSET + socks[i] * sizeof(neat_sock))
                    store64(&sock.rx_head, load64(&sock.rx_tail))
                    ring = neat_tx_offset(self.nsock, self.rx_size, self.tx_size, socks[i])
                    self._copy(ring, self.tx_size, sock.tx_tail, data, response_bytes, True)
                    store64(&sock.tx_tail, sock.tx_tail + response_bytes)
                    self._dirty(socks[i])
                    stack_scan_channel(self.stack, APP, 64, self.now)
                    while True:
                        length = stack_poll_transmit(self.stack, self._buffer, &kind, self.now)
                        if length == 0:
                            break
                        sent += 1
                    stack_expire(self.stack, self.now)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after)
        if sent != <uint64_t>rounds * n:
            raise AssertionError(f"{rounds * n} requests drew {sent} frames")
        return (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec


cdef int _check(int result) except? -1:
    """The result, or OSError when it is a negative errno."""
    if result < 0:
        raise OSError(-result, "refused by the engine")
    return result
