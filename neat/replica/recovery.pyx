"""A successor takes up its predecessor's state: descriptors, then applications' segments, then the engine,
then what may have been in the air. Read first: docs/contracts/start.md, "A successor"."""

import contextlib
import logging
import os
import signal

from neat.abi.layout import channel_bytes
from neat.replica.numbers import HOLDER, put
from neat.rundir import start_ticks
from neat.shm.segment import SegmentError, check

from libc.errno cimport EBADF
from libc.stdint cimport int32_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
from neat.abi.channel cimport NEAT_OUT_WANTED, NEAT_POLLERS, NEAT_SPARES, neat_sock, neat_spare_place
from neat.replica.accept cimport accept_recover
from neat.replica.channels cimport channel_find, channel_lose, channel_reap, channel_recover
from neat.replica.cords cimport cords_recover
from neat.replica.counters cimport COUNT_DESCRIPTORS, COUNT_RECOVERED, COUNT_SUSPECTS_SKIPPED
from neat.replica.endpoints cimport (
    application_gone, endpoint_event, endpoint_repeat, tell_connecting, unbind, watch_endpoint,
)
from neat.replica.holder cimport holder_clone, holder_give, holder_word
from neat.replica.pollers cimport pollers_recover
from neat.replica.posix cimport (
    EPOLLIN, EPOLL_CTL_ADD, all_read, is_stack_end, map_shared, munmap, send_with, unread, watch,
)
from neat.replica.process cimport (
    END_CONNECTING, END_FREE, END_OFFERED, END_OPEN, END_QUEUED, END_WATCH, MAX_CHANNELS, MAX_CORDS,
    MAX_SHARED, TICKS_BITS, WATCH_HOLDER, Endpoint, Process, gauge, own_number, tally, watch_data,
)
from neat.replica.shared cimport shared_recover
from neat.replica.spares cimport spare_keep_again, spares_count, spares_recover
from neat.replica.wire cimport wire_recover
from neat.shm.atomic cimport load32, load64, replace32, store64
from neat.shm.ring cimport ring_advance, ring_peek, ring_resume
from neat.stack.engine cimport (
    EV_FREED, ConnInfo, Event, stack_close, stack_conn_info, stack_recover, stack_resume_position, stack_sock,
    stack_strike,
)
from neat.stack.state cimport SUSPECT_FRAME, SUSPECT_NONE, Suspect
from neat.stack.tcp.state cimport TcpState

log = logging.getLogger("replica")

cdef extern from "<fcntl.h>" nogil:
    const int O_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int dup3(int old, int new, int flags)


# --- descriptors


cdef list places(Process* p):
    """(number, address of the word that has it) of each descriptor that the ledger names."""
    cdef int32_t i, j
    found = []
    for i in range(<int32_t>p.endpoint_count):
        if p.endpoints[i].fd >= 0:
            found.append((p.endpoints[i].fd, <uintptr_t>&p.endpoints[i].fd))
    for i in range(MAX_SHARED):
        if p.shared[i].fd >= 0:
            found.append((p.shared[i].fd, <uintptr_t>&p.shared[i].fd))
    for i in range(MAX_CORDS):
        if p.cords[i].fd >= 0:
            found.append((p.cords[i].fd, <uintptr_t>&p.cords[i].fd))
    for i in range(MAX_CHANNELS):
        channel = &p.channels[i]
        if not channel.used:
            continue
        words = [<uintptr_t>&channel.segment, <uintptr_t>&channel.bell]
        words += [<uintptr_t>&channel.bells[j] for j in range(NEAT_POLLERS)]
        words += [<uintptr_t>&channel.spares[j].fd for j in range(NEAT_SPARES)]
        found += [((<int32_t*><uintptr_t>word)[0], word) for word in words]
    return [(number, word) for number, word in found if number >= 0]


cdef int take_over(Process* p) except -1:
    cdef int got
    cdef uint64_t holder = p.ledger.holder
    if p.ledger.previous != holder:
        kill(p.ledger.previous)
    pid = holder >> TICKS_BITS
    if not holder or not is_alive(holder):
        raise ValueError("nobody holds this state's descriptors any more")
    put(os.pidfd_open(pid), HOLDER)
    lost = set()
    named = places(p)
    for number in sorted({number for number, _word in named}):
        # In ascending order: the number that the kernel gives is this one, or a free one below it.
        got = holder_give(HOLDER, number)
        if got == -EBADF:
            lost.add(number)  # closed before the ledger said so
        elif got < 0:
            raise OSError(-got, f"descriptor {number} of the holder: {os.strerror(-got)}")
        elif got != number:
            dup3(got, number, O_CLOEXEC)
            os.close(got)
    for number, word in named:
        if number in lost:
            own_number(<int32_t*><uintptr_t>word, -1)
    return 0


# --- the holder


def is_alive(uint64_t holder):
    return start_ticks(holder >> TICKS_BITS) == holder & ((<uint64_t>1 << TICKS_BITS) - 1)


def kill(uint64_t holder):
    if not holder or not is_alive(holder):
        return
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(holder >> TICKS_BITS)
        try:
            if is_alive(holder):  # still that one
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def reap(uint64_t holder, int options):
    if holder:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(holder >> TICKS_BITS, options)


cdef int hold_on(Process* p, int lifeline) except -1:
    cdef uint64_t before = p.ledger.holder
    pid = holder_clone(p.ledger, lifeline)
    if pid < 0:
        raise OSError(-pid, f"clone: {os.strerror(-pid)}")
    put(os.pidfd_open(pid), HOLDER)
    got = holder_give(HOLDER, lifeline)
    if got < 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise OSError(-got, f"pidfd_getfd: {os.strerror(-got)}")
    os.close(got)
    store64(&p.ledger.previous, before)
    store64(&p.ledger.holder, holder_word(pid, start_ticks(pid)))
    kill(before)
    reap(before, os.WNOHANG)  # one of ours, that has died
    store64(&p.ledger.previous, 0)
    watch(p.epoll, EPOLL_CTL_ADD, HOLDER, EPOLLIN, watch_data(WATCH_HOLDER, 0, 0))
    return 0


cdef int let_go(Process* p) except -1:
    cdef uint64_t holder = p.ledger.holder
    if holder:
        store64(&p.ledger.holder, 0)
        kill(holder)
        reap(holder, 0)
    return 0


# --- what it had


cdef int rebuild(Process* p, bint blame) except -1:
    cdef int32_t i
    cdef int32_t found
    cdef Suspect suspect
    for i in range(MAX_CHANNELS):
        if p.channels[i].used:
            map_again(p, i)
    with nogil:
        wire_recover(p)
        resume(p, blame, &suspect)
        if blame and suspect.kind != SUSPECT_NONE:
            stack_strike(p.stack, suspect.conn, p.now)
        found = stack_recover(p.stack, p.now)
        repair(p)
    if found < 0:
        raise MemoryError
    gauge(p, COUNT_RECOVERED, found)
    return 0


cdef void resume(Process* p, bint blame, Suspect* suspect) noexcept nogil:
    """Go on behind the last frame that is done with, and behind the one that killed the predecessor; what
    lies between them is no frame."""
    ring_resume(&p.rx, stack_resume_position(p.stack, suspect))
    if not blame or suspect.kind != SUSPECT_FRAME or suspect.position - p.rx.local > p.rx.capacity:
        return
    while ring_peek(&p.rx) != NULL:
        here = p.rx.local  # behind a pad, if there was one
        ring_advance(&p.rx)
        if here == suspect.position:
            tally(p, COUNT_SUSPECTS_SKIPPED)
            return


cdef int map_again(Process* p, uint32_t place) except -1:
    """What can no longer be mapped is given up: the engine frees its connections."""
    channel = &p.channels[place]
    length = channel_bytes(channel.nsock, channel.rx_size, channel.tx_size)
    try:
        check(channel.segment, length)
        memory = map_shared(channel.segment, length)
        if memory == NULL:
            raise SegmentError("no memory")
    except SegmentError as error:
        log.warning("the segment of application %d is lost: %s", channel.app, error)
        channel_lose(channel)
        return 0
    if channel_recover(p, place, memory) < 0:
        munmap(memory, length)
        channel_lose(channel)
    return 0


cdef void repair(Process* p) noexcept nogil:
    cdef int32_t i
    cords_recover(p)
    for i in range(MAX_SHARED):
        if p.shared[i].fd >= 0:
            shared_recover(p, i)
    for i in range(<int32_t>p.channels_end):
        if p.channels[i].used:
            spares_count(p, &p.channels[i])
    for i in range(<int32_t>p.endpoint_count):
        endpoint_again(p, i)
    for i in range(<int32_t>p.channels_end):
        channel = &p.channels[i]
        if channel.used:
            spares_recover(p, channel)
            pollers_recover(p, channel)
            channel_reap(p, channel)


cdef void endpoint_again(Process* p, int32_t conn) noexcept nogil:
    cdef ConnInfo info
    end = &p.endpoints[conn]
    end.queue = end.next = -1
    end.watched = False
    end.recovered = True
    end.unanswered = 0
    p.serial += 1
    end.serial = p.serial
    cdef bint there = stack_conn_info(p.stack, conn, &info) == 0
    if end.state == END_FREE and end.fd < 0:
        unbind(p, end)
        if there and not info.passive:
            stack_close(p.stack, conn, p.now)  # the message that asks for it was not taken: it is heard again
        return
    if there and (info.app != end.app or info.sock != end.sock or info.generation != end.generation):
        there = False  # another one has its place by now
    channel = channel_find(p, end.app)
    if not there and channel != NULL:
        spare_keep_again(p, channel, end)
    if end.fd >= 0:
        gauge(p, COUNT_DESCRIPTORS, 1)
    if not there:
        over(p, conn, end)
    elif end.fd < 0 and (end.state == END_QUEUED or end.state == END_OFFERED):
        accept_recover(p, conn, end)
    elif end.fd < 0:
        application_gone(p, conn, end)  # also one in END_CLOSED: the engine hears it twice
    else:
        open_again(p, conn, end, &info)


cdef void over(Process* p, int32_t conn, Endpoint* end) noexcept nogil:
    """The engine has freed it; what it said of that was not heard."""
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kinds = EV_FREED
    event.conn = conn
    event.app, event.sock, event.generation = end.app, end.sock, end.generation
    endpoint_event(p, &event)


cdef void open_again(Process* p, int32_t conn, Endpoint* end, ConnInfo* info) noexcept nogil:
    cdef bint connecting
    sock = stack_sock(p.stack, end.app, end.sock)
    connecting = info.state == TcpState.SYN_SENT or info.state == TcpState.SYN_RCVD
    if end.state == END_FREE:
        end.state = END_CONNECTING
    elif end.state == END_OFFERED:
        end.state = END_OPEN
    if end.state == END_CONNECTING and not connecting and info.state != TcpState.CLOSED:
        end.state = END_OPEN
    if not is_stack_end(end.fd):
        end.state = END_WATCH
    not_a_spare(p, end, sock)
    if sock != NULL and end.state != END_WATCH:
        say_again(p, end, sock, info)
    if watch_endpoint(p, <uint32_t>conn, end.fd, end.serial) < 0:
        application_gone(p, conn, end)
    else:
        end.watched = True


cdef void not_a_spare(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil:
    """Its pair was one when the predecessor took it."""
    channel = channel_find(p, end.app)
    if channel == NULL or sock == NULL:
        return
    spare = &channel.spares[neat_spare_place(load64(&sock.claim))]
    if spare.fd == end.fd:
        own_number(&spare.fd, -1)


cdef void say_again(Process* p, Endpoint* end, neat_sock* sock, ConnInfo* info) noexcept nogil:
    cdef bint heard = info.passive or load32(&sock.rcvlowat) != 0  # of an active one: neat_options_apply()
    if not heard and not end.told and all_read(end.fd):
        tell_connecting(p, end, &info.local)
    end.told = True
    # A token may have been said to be there, and not have been sent.
    if load32(&sock.in_token) and (not heard or all_read(end.fd)):
        send_with(end.fd, b"t", 1, -1)
    # Fills may have been said to be gone, and not have been taken out.
    cdef uint32_t said = load32(&sock.out_block)
    there = unread(end.fd) - 1
    if there > 0 and (said == 0 or said == NEAT_OUT_WANTED):
        replace32(&sock.out_block, said, <uint32_t>there)
    endpoint_repeat(p, end, sock)
