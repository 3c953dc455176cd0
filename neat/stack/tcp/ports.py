"""Local ports of the connections that we open: the next one of ours that is free."""

import cython
from cython.cimports.libc.errno import EADDRNOTAVAIL, EINVAL, ENOMEM
from cython.cimports.libc.stdint import uint16_t, uint32_t
from cython.cimports.libc.stdlib import calloc


def ports_create(stack):
    stack.tcp.port_counters = cython.cast(
        cython.pointer(uint32_t), calloc(PORT_COUNTERS, cython.sizeof(uint32_t))
    )
    return -ENOMEM if stack.tcp.port_counters == cython.NULL else 0


def ports_share(stack, rank, replicas, held):
    if rank >= replicas or replicas > 0xFFFF:
        return -EINVAL
    memset(stack.tcp.held_ports, 0, cython.sizeof(stack.tcp.held_ports))
    if held != cython.NULL:
        memcpy(stack.tcp.held_ports, held, cython.sizeof(stack.tcp.held_ports))
    stack.config.replica = cython.cast(uint16_t, rank)
    stack.config.replicas = cython.cast(uint16_t, replicas)
    return 0


def port_choose(stack, key):
    """RFC 6056 §3.3.4, "Double-Hash Port Selection": where the search starts depends on the destination, and
    so does the counter that moves it. A destination sees no more than its own connections of our ports, and a
    port comes again only when all others of ours were used for it, so TIME-WAIT is rarely met."""
    step = stack.config.replicas
    first = stack.config.port_low + (step + stack.config.replica - stack.config.port_low % step) % step
    if first > stack.config.port_high:
        count(stack, Counter.TCP_NO_PORT)
        return -EADDRNOTAVAIL
    n = (stack.config.port_high - first) // step + 1
    mixed = port_hash(stack, key)
    counter = cython.address(stack.tcp.port_counters[mixed & (PORT_COUNTERS - 1)])
    start = (mixed >> 32) + counter[0]
    for i in range(n):
        port = first + cython.cast(uint32_t, (start + i) % n) * step
        if port_is_held(stack, port):
            continue
        key.local_port = cython.cast(uint16_t, port)
        if port_is_free(stack, key) and not port_listens(stack, key.local_port):
            counter[0] += i + 1
            return 0
    count(stack, Counter.TCP_NO_PORT)
    return -EADDRNOTAVAIL


def port_is_free(stack, key):
    at = lookup(cython.address(stack.tcp), key)
    if at == NO_INDEX:
        return True
    return at & TW_BIT != 0 and wait_gives_way(stack, at & ~TW_BIT)
