"""Active opens: connect(), and SYN_SENT."""

import cython
from cython.cimports.libc.errno import (
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    ECONNREFUSED,
    EINVAL,
    ENETUNREACH,
    ENOBUFS,
    ESRCH,
)
from cython.cimports.libc.stdint import int32_t
from cython.cimports.libc.string import memcmp


def connect_open(stack, app, local, remote, wishes):
    if remote.family != FAMILY_IPV4 or local.family not in (0, FAMILY_IPV4):
        return -EAFNOSUPPORT
    if remote.port == 0:
        return -EINVAL
    if remote.addr[0] == 0 or remote.addr[0] >= 224:
        return -ENETUNREACH
    if local.family and local.addr[0] and memcmp(local.addr, stack.config.address, 4) != 0:
        return -EADDRNOTAVAIL
    channel = channel_of(stack, app)
    if channel == cython.NULL:
        return -ESRCH
    memset(cython.address(key), 0, cython.sizeof(FlowKey))
    key.family = FAMILY_IPV4
    key.protocol = PROTO_TCP
    memcpy(key.local, stack.config.address, 4)
    memcpy(key.remote, remote.addr, 4)
    key.remote_port = remote.port
    key.local_port = local.port
    if local.port == 0:
        if port_choose(stack, cython.address(key)) < 0:
            return -EADDRNOTAVAIL
    elif not port_is_free(stack, cython.address(key)):
        return -EADDRNOTAVAIL  # as on Linux
    before = lookup(cython.address(stack.tcp), cython.address(key))
    iss = isn(stack, cython.address(key))
    if before != NO_INDEX:
        iss = isn_beyond(iss, stack.tcp.waits[before & ~TW_BIT].snd_nxt)
    tcb = conn_birth(stack, cython.address(key), iss)
    if tcb == cython.NULL:
        return -ENOBUFS
    if conn_take_sock(stack, tcb, channel) < 0:
        conn_free(stack, tcb)
        return -ENOBUFS
    if before != NO_INDEX:
        wait_replace(stack, before & ~TW_BIT)
    tcb.sock.options = wishes.options
    tcb.sock.rcvbuf = wishes.rcvbuf
    tcb.sock.maxseg = wishes.maxseg
    tcb.sock.tos = wishes.tos
    tcb.sock.ttl = wishes.ttl
    tcb.flags |= TF_KNOWN | TF_SEND_SYN
    tcb.rto_us = INITIAL_RTO_US
    handshake_offer(stack, tcb, channel.rx_size, wishes.rcvbuf, wishes.maxseg)
    conn_set_state(tcb, TcpState.SYN_SENT)
    conn_status(tcb, NEAT_ST_CONNECTING)
    count(stack, Counter.TCP_ACTIVE_OPENS)
    flow_record(stack, cython.address(key), RECORD_FLOW_ADD)
    output_want(stack, tcb)
    return cython.cast(int32_t, tcb.index)


def synsent_input(stack, tcb, packet, seg):
    slot = tcb.slot
    acceptable = False
    if seg.flags & TCP_ACK:
        # "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set [...])"
        if seq_le(seg.ack, slot.iss) or seq_gt(seg.ack, tcb.snd_max):
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
