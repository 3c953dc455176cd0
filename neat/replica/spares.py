# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Pairs that serve one connection after another. The application's half of the story: neat/shim/spares.c.

A spare is as a new pair: the canary is unread in the stack's end, the application's is empty (each token was
read), and the stack's is not watched. The table in the segment is the applications' to fight over; which
descriptor stands at which place is known here only.
"""

import cython


def entry_of(channel, name):
    table = cython.cast("uint64_t*", channel.memory + NEAT_SPARES_OFFSET)
    return cython.address(table[neat_spare_place(name)])


def spare_keep(p, channel, end, lines):
    name = load64(cython.address(lines.kept))
    entry = entry_of(channel, name)
    if name == 0 or name & NEAT_SPARE_KEPT or load64(entry) != name:
        return
    spare = cython.address(channel.spares[neat_spare_place(name)])
    spare_close(p, channel, spare)  # given up, or its process would not have found the place free
    if not is_new(p, channel, end, lines):
        replace64(entry, name, 0)
        return
    if not replace64(entry, name, name | NEAT_SPARE_KEPT):
        return
    spare.name = name
    spare.fd = end.fd
    channel.spare_count += 1
    end.fd = -1


def is_new(p, channel, end, lines):
    if end.fd < 0 or end.state != END_OPEN or end.options & NEAT_OPT_KEEPS == 0 or channel.orphan:
        return False
    if end.spoken or load32(cython.address(lines.in_token)) != 0:
        return False
    return not end.watched or watch(p.epoll, EPOLL_CTL_DEL, end.fd, 0, 0) == 0


def spare_take(p, channel, name):
    spare = cython.address(channel.spares[neat_spare_place(name)])
    fd = spare.fd
    if fd < 0 or spare.name != name:
        return -1
    spare.fd = -1
    channel.spare_count -= 1
    replace64(entry_of(channel, name), name | NEAT_SPARE_KEPT, 0)
    gauge(p, COUNT_DESCRIPTORS, -1)  # it counts as a new one again
    return fd


def spares_suffice(channel, who):
    if channel.spare_count <= channel.offered:
        return False
    found = cython.declare(int32_t, 0)
    for i in range(NEAT_SPARES):
        if channel.spares[i].fd >= 0 and channel.spares[i].name >> 32 == who:
            found += 1
            if found > channel.offered:
                return True
    return False


def spares_sweep(p, channel):
    if p.now - channel.swept_at < SWEEP_NS:
        return
    channel.swept_at = p.now
    for i in range(NEAT_SPARES):
        spare = cython.address(channel.spares[i])
        if spare.fd < 0:
            continue
        entry = entry_of(channel, spare.name)
        kept = spare.name | NEAT_SPARE_KEPT
        if load64(entry) != kept or is_hung_up(spare.fd):
            spare_close(p, channel, spare)
            replace64(entry, kept, 0)


def spare_close(p, channel, spare):
    if spare.fd < 0:
        return
    close(spare.fd)
    spare.fd = -1
    channel.spare_count -= 1
    gauge(p, COUNT_DESCRIPTORS, -1)


def spares_open(channel):
    for i in range(NEAT_SPARES):
        channel.spares[i].fd = -1
    channel.spare_count = 0
    channel.offered = 0
    channel.swept_at = 0


def spares_close(p, channel):
    for i in range(NEAT_SPARES):
        spare_close(p, channel, cython.address(channel.spares[i]))
