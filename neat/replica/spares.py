# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Pairs that serve one connection after another. The application's half of the story: neat/shim/spares.c.

A spare is as a new pair: the canary is unread in the stack's end, the application's is empty (each token was
read), and the stack's is not watched. The table in the segment is the applications' to fight over; which
descriptor stands at which place is known here only.
"""

import cython


def entry_of(channel, place):
    table = cython.cast("uint64_t*", channel.memory + NEAT_SPARES_OFFSET)
    return cython.address(table[place])


def spare_keep(p, channel, end, lines):
    kept = load32(cython.address(lines.kept))
    if kept == 0 or kept > SPARES:
        return
    entry = entry_of(channel, kept - 1)
    name = load64(entry)
    if name == 0 or name & NEAT_SPARE_KEPT:
        return
    spare = cython.address(channel.spares[kept - 1])
    spare_close(p, channel, spare)  # given up, or its process would not have found the place free
    if not is_new(p, channel, end, lines):
        store64(entry, 0)
        return
    spare.name = name
    spare.fd = end.fd
    channel.spare_count += 1
    end.fd = -1
    store64(entry, name | NEAT_SPARE_KEPT)


def is_new(p, channel, end, lines):
    if end.fd < 0 or end.state != END_OPEN or end.options & NEAT_OPT_KEEPS == 0 or channel.orphan:
        return False
    if end.spoken or load32(cython.address(lines.in_token)) != 0:
        return False
    return not end.watched or watch(p.epoll, EPOLL_CTL_DEL, end.fd, 0, 0) == 0


def spare_take(p, channel, lines):
    brought = load32(cython.address(lines.brought))
    if brought == 0 or brought > SPARES:
        return -1
    spare = cython.address(channel.spares[brought - 1])
    fd = spare.fd
    if fd < 0:
        return -1
    spare.fd = -1
    channel.spare_count -= 1
    store64(entry_of(channel, brought - 1), 0)
    gauge(p, COUNT_DESCRIPTORS, -1)  # it counts as a new one again
    return fd


def spares_suffice(channel, who):
    if channel.spare_count <= channel.offered:
        return False
    found = cython.declare(int32_t, 0)
    for i in range(SPARES):
        if channel.spares[i].fd >= 0 and channel.spares[i].name >> 32 == who:
            found += 1
            if found > channel.offered:
                return True
    return False


def spares_sweep(p, channel):
    if p.now - channel.swept_at < SWEEP_NS:
        return
    channel.swept_at = p.now
    for i in range(SPARES):
        spare = cython.address(channel.spares[i])
        entry = entry_of(channel, i)
        kept = load64(entry) == spare.name | NEAT_SPARE_KEPT
        if spare.fd < 0 or (kept and not is_hung_up(spare.fd)):
            continue
        spare_close(p, channel, spare)
        if kept:
            store64(entry, 0)


def spare_close(p, channel, spare):
    if spare.fd < 0:
        return
    close(spare.fd)
    spare.fd = -1
    channel.spare_count -= 1
    gauge(p, COUNT_DESCRIPTORS, -1)


def spares_open(channel):
    for i in range(SPARES):
        channel.spares[i].fd = -1
    channel.spare_count = 0
    channel.offered = 0
    channel.swept_at = 0


def spares_close(p, channel):
    for i in range(SPARES):
        spare_close(p, channel, cython.address(channel.spares[i]))
