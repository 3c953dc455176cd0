"""Active opens: connect(), and SYN_SENT."""

from libc.errno cimport EADDRNOTAVAIL, EAFNOSUPPORT, ECONNREFUSED, EINVAL, ENETUNREACH, ENOBUFS, ESRCH
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp, memcpy, memset
from neat.abi.channel cimport NEAT_ST_CONNECTING, neat_addr
from neat.shm.ring cimport RECORD_FLOW_ADD
from neat.stack.channels cimport channel_of
from neat.stack.config cimport ConnectWishes
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport ConnSlot
from neat.stack.tcp.ack cimport establish
from neat.stack.tcp.connection cimport (
    conn_birth, conn_free, conn_over, conn_set_state, conn_status, conn_take_sock, flow_record,
)
from neat.stack.tcp.handshake cimport handshake_offer, handshake_settle
from neat.stack.tcp.isn cimport isn, isn_beyond
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.ports cimport port_choose, port_is_free
from neat.stack.tcp.respond cimport respond_rst
from neat.stack.tcp.rtt cimport INITIAL_RTO_US
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.text cimport check_fin, owe_ack, process_text
from neat.stack.tcp.timewait cimport wait_replace
from neat.stack.tcp.types cimport NO_INDEX, TF_KNOWN, TF_SEND_SYN, TW_BIT, Tcb
from neat.stack.types cimport Channel, Stack, count
from neat.wire.flow cimport FAMILY_IPV4, FlowKey
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_RST, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_le


cdef int32_t connect_open(
    Stack* stack, uint32_t app, const neat_addr* local, const neat_addr* remote, const ConnectWishes* wishes
) noexcept nogil:
    cdef FlowKey key
    if remote.family != FAMILY_IPV4 or local.family not in (0, FAMILY_IPV4):
        return -EAFNOSUPPORT
    if remote.port == 0:
        return -EINVAL
    if remote.addr[0] == 0 or remote.addr[0] >= 224:
        return -ENETUNREACH
    if local.family and local.addr[0] and memcmp(local.addr, stack.config.address, 4) != 0:
        return -EADDRNOTAVAIL
    cdef Channel* channel = channel_of(stack, app)
    if channel == NULL:
        return -ESRCH
    memset(&key, 0, sizeof(FlowKey))
    key.family = FAMILY_IPV4
    key.protocol = PROTO_TCP
    memcpy(key.local, stack.config.address, 4)
    memcpy(key.remote, remote.addr, 4)
    key.remote_port = remote.port
    key.local_port = local.port
    if local.port == 0:
        if port_choose(stack, &key) < 0:
            return -EADDRNOTAVAIL
    elif not port_is_free(stack, &key):
        return -EADDRNOTAVAIL  # as on Linux
    cdef uint32_t before = lookup(&stack.tcp, &key)
    cdef uint32_t iss = isn(stack, &key)
    if before != NO_INDEX:
        iss = isn_beyond(iss, stack.tcp.waits[before & ~TW_BIT].snd_nxt)
    cdef Tcb* tcb = conn_birth(stack, &key, iss)
    if tcb == NULL:
        return -ENOBUFS
    if conn_take_sock(stack, tcb, channel) < 0:
        conn_free(stack, tcb)
        return -ENOBUFS
    tcb.sock.options = wishes.options
    tcb.sock.rcvbuf = wishes.rcvbuf
    tcb.sock.maxseg = wishes.maxseg
    tcb.sock.tos = wishes.tos
    tcb.sock.ttl = wishes.ttl
    tcb.flags |= TF_KNOWN | TF_SEND_SYN
    tcb.rto_us = INITIAL_RTO_US
    handshake_offer(stack, tcb, channel.rx_size, wishes.rcvbuf, wishes.maxseg)
    conn_set_state(tcb, TcpState.SYN_SENT)
    if before != NO_INDEX:
        wait_replace(stack, before & ~TW_BIT)
    conn_status(tcb, NEAT_ST_CONNECTING)
    count(stack, Counter.TCP_ACTIVE_OPENS)
    flow_record(stack, &key, RECORD_FLOW_ADD)
    output_want(stack, tcb)
    return <int32_t>tcb.index


cdef bint synsent_input(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    cdef bint acceptable = False
    if seg.flags & TCP_ACK:
        # "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set [...])"
        if seq_le(seg.ack, slot.iss) or seq_gt(seg.ack, tcb.slot.snd_max):
            count(stack, Counter.TCP_BAD_ACK)
            respond_rst(stack, packet, seg)
            return True
        acceptable = True
    if seg.flags & TCP_RST:
        count(stack, Counter.TCP_RST_IN)
        if acceptable:
            count(stack, Counter.TCP_CONNECT_REFUSED)
            conn_over(stack, tcb, ECONNREFUSED, False)
            return False
        return True
    if not seg.flags & TCP_SYN:
        count(stack, Counter.TCP_NO_ACK)
        return True
    slot.irs = seg.seq
    tcb.rcv_nxt = seg.seq + 1
    tcb.last_ack_sent = tcb.rcv_nxt
    slot.rcv_adv = tcb.rcv_nxt + min(tcb.rcv_limit, 65535)
    handshake_settle(stack, tcb, seg)
    if not acceptable:
        # Simultaneous open: "Otherwise, enter SYN-RECEIVED, form a SYN,ACK segment"
        conn_set_state(tcb, TcpState.SYN_RCVD)
        tcb.flags |= TF_SEND_SYN
        return True
    establish(stack, tcb, seg)
    owe_ack(tcb)
    # "If there are other controls or text in the segment, then continue processing at the sixth step"
    seg.seq += 1
    return process_text(stack, tcb, packet, seg) and check_fin(stack, tcb, seg)
