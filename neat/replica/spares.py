# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Pairs that serve one connection after another. The application's half of the story: neat/shim/spares.c.

A spare is as a new pair: the canary is unread in the stack's end, the application's is empty (each token was
read), and the stack's is not watched.
"""

import cython


def spare_keep(p, channel, end, lines):
    name = load64(cython.address(lines.spare))
    if end.state != END_OPEN or end.options & NEAT_OPT_KEEPS == 0 or name == 0:
        return
    if end.spoken or load32(cython.address(lines.in_token)) != 0:
        return
    if channel.orphan or (end.watched and watch(p.epoll, EPOLL_CTL_DEL, end.fd, 0, 0) < 0):
        return
    if channel.spare_count == MAX_SPARES:
        # The oldest may be that of a process that has died.
        close(spare_remove(channel, 0).fd)
        gauge(p, COUNT_DESCRIPTORS, -1)
    spare = cython.address(channel.spares[channel.spare_count])
    spare.name = name
    spare.fd = end.fd
    channel.spare_count += 1
    end.fd = -1


def spare_take(channel, who, spare):
    for i in range(channel.spare_count - 1, -1, -1):
        if channel.spares[i].name >> 32 == who:
            spare[0] = spare_remove(channel, i)
            return True
    return False


def spare_remove(channel, at):
    removed = channel.spares[at]
    channel.spare_count -= 1
    for i in range(at, channel.spare_count):
        channel.spares[i] = channel.spares[i + 1]
    return removed


def spares_close(p, channel):
    while channel.spare_count > 0:
        channel.spare_count -= 1
        close(channel.spares[channel.spare_count].fd)
        gauge(p, COUNT_DESCRIPTORS, -1)
