"""The replica as Python sees it: made from mapped segments and descriptors, asked to run, told what the
control messages say.

Between two calls of `run` nothing else touches the process's state: one thread, no locks.
"""

import logging
import os

from neat.abi.layout import channel_bytes
from neat.replica.numbers import EPOLL, put
from neat.shm.segment import SegmentError, check

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from neat.abi.channel cimport NEAT_MAX_SOCKS, NEAT_SOCK_UDP, NEAT_SPARES, NEAT_WAITERS_UNSEEN, neat_addr
from neat.replica.channels cimport channel_attach, channel_find, channel_orphan
from neat.replica.cords cimport cord_add
from neat.replica.counters cimport (
    COUNT_CHANNELS_REFUSED, COUNT_CONNECTS_FAILED, COUNT_DROP_CONTROL, COUNT_RECOVERED, COUNT_STATELESS,
    REPLICA_COUNTERS_BASE,
)
from neat.replica.endpoints cimport (
    endpoint_drop, endpoint_of, endpoint_open, tell_connecting, tell_failed, unbind_id,
)
from neat.replica.ledger cimport ledger_open
from neat.replica.loop cimport DESCRIPTOR_BURST, descriptors, run as turns
from neat.replica.pollers cimport poller_add
from neat.replica.posix cimport (
    EPOLLIN, EPOLL_CLOEXEC, EPOLL_CTL_ADD, close, epoll_create1, map_shared, monotonic_ns, munmap, punch,
    watch,
)
from neat.replica.process cimport (
    END_CONNECTING, END_FREE, MAX_SHARED, MAX_UNBOUND, WATCH_BELL, WATCH_CTL, WATCH_LIFELINE, WATCH_SYS,
    Process, note, tally, watch_data,
)
from neat.replica.recovery cimport hold_on, let_go, rebuild, take_over
from neat.replica.settings cimport engine_bytes, fill_config
from neat.replica.shared cimport listener_add, udp_add
from neat.replica.wire cimport wire_discard, wire_open
from neat.shm.atomic cimport exchange32, load64, store64
from neat.shm.board cimport BoardPage
from neat.shm.doorbell cimport doorbell_ring
from neat.shm.filter cimport FilterView
from neat.shm.recorder cimport Recorder
from neat.stack.engine cimport (
    ConnInfo, ConnectWishes, StackConfig, stack_adopt, stack_close, stack_conn_info, stack_connect,
    stack_create, stack_destroy, stack_filter, stack_flows_said, stack_narrow_ports, stack_ports_in_use,
    stack_share_ports, stack_sock, stack_use_counters,
)
from neat.stack.state cimport STATE_MAGIC, STATE_VERSION, StateHeader, WaitSlot

cdef extern from "<errno.h>":
    const int EEXIST, EINVAL, ENOENT, ENOMEM

log = logging.getLogger("replica")
CATCH_UP = 64  # calls of epoll
REASONS = {"sys": 1, "ctl": 2, "lifeline": 4, "tick": 8, "holder": 16}


cdef int read_address(bytes packed, neat_addr* out) except -1:
    if len(packed) != sizeof(neat_addr):
        raise ValueError("not a struct neat_addr")
    memcpy(out, <const char*>packed, sizeof(neat_addr))
    return 0


def ended_waits(int fd):
    """The used part of the TIME-WAIT table in the state segment of a replica that has ended. It may be any
    bytes: empty when they are none of this version."""
    cdef bytes head = os.pread(fd, sizeof(StateHeader), 0)
    if len(head) < <Py_ssize_t>sizeof(StateHeader):
        return b""
    header = <const StateHeader*><const char*>head
    size = os.fstat(fd).st_size
    if header.magic != STATE_MAGIC or header.version != STATE_VERSION or header.waits >= size:
        return b""
    used = min(header.waits_used, header.max_waits) * <uint64_t>sizeof(WaitSlot)
    return os.pread(fd, min(used, size - header.waits), header.waits)


cdef tuple show_address(const neat_addr* addr):
    host = ".".join([str(addr.addr[i]) for i in range(4)])
    return ("*" if host == "0.0.0.0" else host), addr.port


cdef class Core:
    cdef Process* p
    cdef readonly int max_connections
    cdef readonly bint recovered    # it goes on with a predecessor's state
    cdef readonly bint stateful     # a successor can go on with its state
    cdef int lifeline
    cdef tuple held                 # what owns the memory that `p` points into
    cdef FilterView filter

    def __cinit__(self):
        self.p = <Process*>calloc(1, sizeof(Process))
        if self.p == NULL:
            raise MemoryError
        self.p.epoll = -1

    def __init__(self, boot, state, link, board, spin_ns):
        """`state`: mapped Segment; `link`: Link; `board`: BoardWriter. ValueError or OSError when something
        does not fit."""
        cdef StackConfig settings
        cdef uintptr_t state_address, board_address, rx, tx, intake, recorder
        cdef int i
        p = self.p
        fds, config = boot.fds, boot.config
        fill_config(&settings, config, boot.slot, boot.secret, boot.part)
        state_address, board_address, rx, tx = state.address, board.address, link.rx_address, link.tx_address
        p.board = <BoardPage*>board_address
        p.counters = &p.board.counters[REPLICA_COUNTERS_BASE]
        p.stack = stack_create(&settings, <void*>state_address, engine_bytes(&settings), monotonic_ns())
        if p.stack == NULL:
            raise ValueError("the engine refused its settings or its state segment")
        stack_use_counters(p.stack, p.board.counters)
        self._filter(fds, boot.slot)
        status = ledger_open(p, <uint8_t*>state_address + engine_bytes(&settings), config.max_connections)
        if status < 0:
            raise ValueError("the state's ledger is of another version or size")
        intake, recorder = link.intake_address, link.recorder_address
        queue = fds.get("queue", -1)
        if wire_open(p, <void*>rx, <void*>tx, <void*>intake, config.ring_bytes, queue) < 0:
            raise ValueError("a ring of the link makes no sense")
        for i, byte in enumerate(config.mac_bytes()):
            p.mac[i] = byte
        p.recorder = <Recorder*>recorder
        self.max_connections = config.max_connections
        self.stateful = config.recovery == "stateful"
        self.recovered = status == 1
        self.lifeline = fds["lifeline"]
        p.replica = boot.slot
        p.incarnation = boot.state or boot.incarnation
        p.bell = fds["bell"]
        p.driver_bell = fds["bell.driver"]
        p.spin_ns = spin_ns
        p.now = monotonic_ns()
        self.held = (state, link, board)
        # A whole replica gets no packets before; what comes to a part waits in its link.
        p.deaf = boot.part != "" and not self.recovered
        if self.recovered:
            take_over(p)
        self._watch({"bell": WATCH_BELL, "sys": WATCH_SYS, "ctl": WATCH_CTL, "lifeline": WATCH_LIFELINE}, fds)
        self.look_after_holder()
        if self.recovered:
            rebuild(p, boot.blame)
        else:
            wire_discard(p)  # a frame that is left may have killed the predecessor, whose state is gone
        # The driver may have been told to sleep by a predecessor that did not ring.
        doorbell_ring(p.driver_bell)

    def _filter(self, fds, slot):
        """The engine has the rules before it sees a packet."""
        view = FilterView(fds["filter"], fds["track"], slot)
        stack = self.p.stack
        if stack_filter(stack, view.header, view.rates, view.own, view.areas, view.area, view.count) < 0:
            raise OSError("no memory for the packet filter")
        self.filter = view

    @property
    def connections(self):
        """How many it has from its predecessor."""
        return self.p.counters[<uint32_t>COUNT_RECOVERED]

    def hear(self):
        """It has all its sockets: take frames from now on."""
        self.p.deaf = False

    def look_after_holder(self):
        """There is none yet, or it has died."""
        if not self.stateful:
            return
        try:
            hold_on(self.p, self.lifeline)
        except OSError as error:
            log.warning("its connections will not outlive it: no holder for its descriptors: %s", error)
            note(self.p, COUNT_STATELESS)
            self.stateful = False

    def end(self):
        """The process ends in order, and its state with it. Nothing else may be called after this."""
        cdef uintptr_t address
        cdef uint64_t length
        state = self.held[0]
        address, length = state.address, state.size
        let_go(self.p)
        punch(<void*>address, length)

    def _watch(self, kinds, fds):
        p = self.p
        p.epoll = epoll_create1(EPOLL_CLOEXEC)
        if p.epoll < 0:
            raise OSError("no epoll instance")
        if self.stateful:
            p.epoll = put(p.epoll, EPOLL)
        for name, kind in kinds.items():
            status = watch(p.epoll, EPOLL_CTL_ADD, fds[name], EPOLLIN, watch_data(kind, 0, 0))
            if status < 0:
                raise OSError(-status, f"{name} cannot be watched")

    def __dealloc__(self):
        if self.p != NULL:
            if self.p.stack != NULL:
                stack_destroy(self.p.stack)
            if self.p.epoll >= 0:
                close(self.p.epoll)
            free(self.p.out)
            free(self.p)

    def run(self, uint64_t tick_ns):
        """Turn until Python is wanted, at the latest after tick_ns. A bitmap of REASONS."""
        p = self.p
        p.tick_ns = tick_ns
        with nogil:
            reasons: uint32_t = turns(p)
        return reasons

    def drop_control(self):
        tally(self.p, COUNT_DROP_CONTROL)

    def attach(self, uint32_t app, int fd, int bell, uint32_t nsock, uint32_t rx, uint32_t tx, uint32_t pid):
        """Map an application's segment. 0 or a positive errno; both are taken over when it is 0."""
        cdef uint64_t length
        p = self.p
        try:
            if nsock == 0 or nsock > NEAT_MAX_SOCKS or not rx or not tx:
                raise SegmentError("geometry")
            length = channel_bytes(nsock, rx, tx)
            check(fd, length)
        except SegmentError:
            tally(p, COUNT_CHANNELS_REFUSED)
            return EINVAL
        memory = map_shared(fd, length)
        if memory == NULL:
            tally(p, COUNT_CHANNELS_REFUSED)
            return ENOMEM
        status = channel_attach(p, app, memory, length, nsock, rx, tx, fd, bell, pid)
        if status < 0:
            munmap(memory, length)
            if status != -EEXIST:
                tally(p, COUNT_CHANNELS_REFUSED)
        return -status

    def pids(self):
        """app -> a process of it."""
        p = self.p
        return {p.channels[i].app: p.channels[i].pid for i in range(p.channels_end) if p.channels[i].used}

    def add_poller(self, uint32_t app, uint32_t slot, int bell):
        """Whether its bell was taken over."""
        return poller_add(self.p, app, slot, bell) == 0

    def add_cord(self, uint32_t app, uint32_t number, int fd):
        """Whether it was taken over."""
        return channel_find(self.p, app) != NULL and cord_add(self.p, app, number, fd) == 0

    def app_gone(self, uint32_t app):
        channel_orphan(self.p, app)

    def app_full(self, uint32_t app, full):
        """Whether connections to it are reset."""
        channel = channel_find(self.p, app)
        if channel != NULL:
            channel.full = full

    def stack_ends(self, uint32_t app):
        """The descriptors of its connections and of its spares."""
        p = self.p
        found = [p.endpoints[i].fd for i in range(p.endpoint_count) if p.endpoints[i].app == app]
        channel = channel_find(p, app)
        if channel != NULL:
            found += [channel.spares[i].fd for i in range(NEAT_SPARES)]
        return [fd for fd in found if fd >= 0]

    def orphans(self):
        """Applications that are gone, but for some sockets."""
        p = self.p
        channels = [i for i in range(p.channels_end) if p.channels[i].used and p.channels[i].orphan]
        return [p.channels[i].app for i in channels]

    def _catch_up(self):
        """Hear of all hang-ups so far: the port of a new socket may be one that was just given up."""
        p = self.p
        p.now = monotonic_ns()
        for _ in range(CATCH_UP):
            if descriptors(p, 0) < DESCRIPTOR_BURST:
                return

    def add_listener(
        self, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t backlog, uint32_t flags,
        uint32_t defer_s, address, int fd
    ):
        """(positive errno or 0, whether fd was taken over)."""
        cdef neat_addr local
        read_address(address, &local)
        self._catch_up()
        status = listener_add(self.p, app, sock, bind_id, backlog, flags, defer_s, &local, fd)
        return (-status if status < 0 else 0), status == 0

    def add_udp(
        self, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t flags, address, int fd, bint announce
    ):
        """(positive errno or 0, whether fd was taken over). `announce`: tell the application about it."""
        cdef neat_addr local
        read_address(address, &local)
        self._catch_up()
        status = udp_add(self.p, app, sock, bind_id, flags, &local, fd, announce)
        return (-status if status < 0 else 0), status == 0

    def connect(
        self, uint32_t app, uint32_t bind_id, local_address, remote_address, uint32_t options, settings,
        int fd
    ):
        """Open a connection whose stack's end is `fd`. `settings`: u[0..3] of NEAT_OP_CONNECT.

        True when fd was taken over; otherwise the application has been told.
        """
        cdef neat_addr local, remote
        cdef ConnInfo info
        cdef ConnectWishes wishes
        p = self.p
        read_address(local_address, &local)
        read_address(remote_address, &remote)
        p.now = monotonic_ns()
        fills, wishes.maxseg, wishes.rcvbuf, tos_ttl = settings
        wishes.options, wishes.tos, wishes.ttl = options, tos_ttl & 0xFF, tos_ttl >> 8 & 0xFF
        conn = stack_connect(p.stack, app, &local, &remote, &wishes, p.now)
        if conn < 0:
            tally(p, COUNT_CONNECTS_FAILED)
            tell_failed(p, fd, -conn)
            return False
        end = endpoint_of(p, conn)
        if end.state != END_FREE:
            endpoint_drop(p, end)
            end.state = END_FREE
        if stack_conn_info(p.stack, conn, &info) == 0:
            status = self._connecting(conn, app, bind_id, &info, fills, fd)
        else:
            status = -ENOENT
        if status < 0:
            tally(p, COUNT_CONNECTS_FAILED)
            tell_failed(p, fd, -status)
            stack_close(p.stack, conn, p.now)
            return False
        return True

    cdef int _connecting(
        self, int32_t conn, uint32_t app, uint32_t bind_id, ConnInfo* info, uint32_t fills, int fd
    ) except? -1:
        """`fd` comes last but for what is said on it: a successor looks whether that was."""
        p = self.p
        end = endpoint_of(p, conn)
        end.app, end.sock, end.generation, end.bind_id = app, info.sock, info.generation, bind_id
        lines = stack_sock(p.stack, app, info.sock)
        if lines != NULL:
            exchange32(&lines.out_block, fills)
            store64(&lines.waiters, NEAT_WAITERS_UNSEEN)
        status = endpoint_open(p, conn, fd, END_CONNECTING, False)
        if status == 0:
            tell_connecting(p, end, &info.local)
            end.told = True
        else:
            end.bind_id = 0
        return status

    def knows(self, uint64_t inode):
        """Whether a connection has a stack's end with that inode."""
        p = self.p
        return any(
            os.fstat(p.endpoints[i].fd).st_ino == inode
            for i in range(p.endpoint_count) if p.endpoints[i].fd >= 0
        )

    def narrow_ports(self, uint32_t rank, uint32_t count):
        """Open connections only from ports that are also in this share; from which ports there are some, a
        bit each. ValueError: it makes no sense."""
        cdef uint64_t used[1024]
        if stack_narrow_ports(self.p.stack, rank, count) < 0:
            raise ValueError(f"no share of the ports: {rank} of {count}")
        stack_ports_in_use(self.p.stack, used)
        return bytes((<uint8_t*>used)[: sizeof(used)])

    def share_ports(self, uint32_t rank, uint32_t count, bytes held):
        """Open connections from the ports of this share, but for those in `held`, 8192 bytes."""
        cdef uint64_t bits[1024]
        if len(held) != sizeof(bits):
            raise ValueError(f"a bit a port is {sizeof(bits)} bytes, not {len(held)}")
        memcpy(bits, <const char*>held, sizeof(bits))
        if stack_share_ports(self.p.stack, rank, count, bits) < 0:
            raise ValueError(f"no share of the ports: {rank} of {count}")

    def adopt(self, bytes waits, uint32_t first, uint32_t most):
        """Go on with TIME-WAITs of a replica that has ended (`ended_waits`), with up to `most` from the
        `first` on. Where the rest begins; 0: that was all."""
        cdef const char* table = waits
        cdef uint32_t number = <uint32_t>(len(waits) // sizeof(WaitSlot))
        if first >= number:
            return 0
        at = <const WaitSlot*>table + first
        first += stack_adopt(self.p.stack, at, min(most, number - first), monotonic_ns())
        return first if first < number else 0

    @property
    def flows_said(self):
        """What the driver is to know of flows is in its ring, where a crash of ours leaves it."""
        return bool(stack_flows_said(self.p.stack))

    def unbound(self):
        """bind_ids of connections that are over. `told` takes the first of them away."""
        p = self.p
        head, tail = p.ledger.unbound_head, p.ledger.unbound_tail
        return [p.unbound[(head + i) & (MAX_UNBOUND - 1)] for i in range(tail - head)]

    def unbind(self, uint32_t bind_id):
        unbind_id(self.p, bind_id)

    def told(self):
        self.p.ledger.unbound_head += 1

    def connection(self, int32_t conn):
        """What `ss` shows of the connection in slot `conn`, as a dict, or None."""
        cdef ConnInfo info
        p = self.p
        if stack_conn_info(p.stack, conn, &info) < 0:
            return None
        return {
            "state": info.state,
            "local": show_address(&info.local),
            "remote": show_address(&info.remote),
            "app": info.app,
            "sock": info.sock,
            "cwnd": info.cwnd,
            "ssthresh": info.ssthresh,
            "mss": info.mss,
            "rtt_us": info.srtt_us,
            "rto_us": info.rto_us,
            "retransmits": info.retransmits,
            "snd_wnd": info.snd_wnd,
            "rcv_wnd": info.rcv_wnd,
            "queues": self._queues(info.app, info.sock),
        }

    def _queues(self, uint32_t app, uint32_t sock):
        """(bytes to be read, bytes to be acknowledged), clamped: the application has a say in them."""
        lines = stack_sock(self.p.stack, app, sock)
        channel = channel_find(self.p, app)
        if lines == NULL or channel == NULL:
            return 0, 0
        received = load64(&lines.rx_tail) - load64(&lines.rx_head)
        waiting = load64(&lines.tx_tail) - load64(&lines.tx_head)
        return (min(received, channel.rx_size), min(waiting, channel.tx_size))

    def shared_sockets(self):
        """(kind, local, app, sock, backlog, waiting for room) of each listening and UDP socket."""
        p = self.p
        return [
            (
                "udp" if p.shared[i].kind == NEAT_SOCK_UDP else "tcp",
                show_address(&p.shared[i].local),
                p.shared[i].app,
                p.shared[i].sock,
                p.shared[i].backlog,
                bool(p.shared[i].blocked),
            )
            for i in range(MAX_SHARED)
            if p.shared[i].fd >= 0
        ]
