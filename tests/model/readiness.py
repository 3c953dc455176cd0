"""The readiness protocol (docs/contracts/readiness.md) as programs for the explorer, one for each party.

Each follows the code that its docstring names, step by step. `leave_out` names steps that are not taken, or
taken too early: what the protocol would be without them. A socket has one stream of bytes each way, of which
only the offsets are there, and of the bitmaps there is one bit.
"""

from tests.model.explorer import (
    Add,
    Again,
    AndNot,
    Await,
    AwaitNone,
    Fence,
    Load,
    Or,
    Receive,
    Replace,
    Ring,
    Send,
    Store,
    Swap,
    Take,
)

POLLER = 1
UNSEEN, WAITER = 1 << 31, 1 << 32
WANTED = 1 << 31
RING = 3  # bytes that the transmit ring holds; writable is up to two of them


class Protocol:
    def __init__(self, *leave_out):
        self.leave_out = leave_out

    def fence(self, name):
        if name not in self.leave_out:
            yield Fence()

    # The replica ---------------------------------------------------------------------------------

    def replica(self, text=0, ends=False):
        """replica/loop.pyx: commands, frames, then signal(). `text` bytes arrive; if it `ends`, a FIN."""
        yield from self.command()
        if text:
            yield Store("rx_tail", (yield Load("rx_tail")) + 1)
            yield from self.fence("changes before waiters")
            yield from self.notify()
            return Again(self.replica, (text - 1, ends))
        if ends:
            yield Store("status", 1)
            yield from self.fence("changes before waiters")
            yield from self.notify()
        return Again(self.serve)

    def serve(self):
        yield Receive("commands")
        yield from self.command()
        return Again(self.serve)

    def acknowledged(self, count):
        """The same, while the transmit ring's bytes are acknowledged one by one: ack.py, signal_writable."""
        yield from self.command()
        if not count:
            return Again(self.serve)
        if (yield Load("tx_tail")) == (yield Load("tx_head")):
            yield Receive("commands")
            return Again(self.acknowledged, (count,))
        yield Store("tx_head", (yield Load("tx_head")) + 1)
        yield from self.fence("room before out_block")
        if (yield Load("out_block")) and (yield from self.writable()):
            yield from self.make_room()
        return Again(self.acknowledged, (count - 1,))

    def command(self):
        """tcp_command: NEAT_REQ_NOTIFY."""
        if not (yield Swap("request", 0)):
            return
        if (yield Load("out_block")) and (yield from self.writable()):
            yield from self.make_room()
        yield from self.notify()

    def writable(self):
        return (yield Load("tx_tail")) - (yield Load("tx_head")) <= RING - 1

    def make_room(self):
        """endpoints.py: take_fills, then notify."""
        block = yield Swap("out_block", 0)
        if block and block != WANTED:
            yield Take("fills")
        yield from self.notify()

    def notify(self):
        """endpoints.py: notify; pollers.py: pollers_notify, pollers_ring."""
        waiters = yield Load("waiters")
        if waiters & POLLER:
            if "bit before summary" in self.leave_out:
                yield Or("summary", 1)
                yield Or("events", 1)
            elif not (yield Or("events", 1)):
                yield Or("summary", 1)
        if waiters >= UNSEEN:
            yield from self.show()
        if waiters & POLLER and (yield Load("asleep")) and (yield Swap("asleep", 0)):
            yield Send("bell")

    def show(self):
        """endpoints.py: endpoint_show. The farewell is a message that is never taken."""
        if (yield Load("status")):
            yield Swap("in_token", 1)
            yield Send("descriptor")
        elif (yield Load("rx_tail")) != (yield Load("rx_head")) and not (yield Swap("in_token", 1)):
            yield Send("descriptor")

    # A replica that is killed, and its successor ---------------------------------------------------

    def killable(self, rest, program, *arguments):
        """A replica's program, until it is killed between two of its steps; `rest` is what the successor has
        still to do when it has repaired what may have been in the air."""
        running = program(*arguments)
        try:
            operation = next(running)
            while True:
                if (yield Load("dead")):
                    return Again(self.repair, rest)
                operation = running.send((yield operation))
        except StopIteration as stop:
            after = stop.value
        return after and Again(self.killable, (rest, after.program, *after.arguments))

    def killer(self):
        """It may be killed in its sleep, too."""
        yield Store("dead", 1)
        yield Ring("commands")

    def repair(self, *rest):
        """replica/recovery.pyx: say_again; pollers.pyx: pollers_recover; all events are raised again."""
        yield Fence()
        said = (yield Load("in_token")) and not (yield Add("descriptor", 0))
        if said and "send the token again" not in self.leave_out:
            yield Send("descriptor")
        block = yield Load("out_block")
        left = block in (0, WANTED) and (yield Add("fills", 0))
        if left and "fills are said again" not in self.leave_out:
            yield Replace("out_block", (block, 1))
        if "summary again" not in self.leave_out and (yield Load("events")):
            yield Or("summary", 1)
        if "ring every bell" not in self.leave_out:
            yield Swap("asleep", 0)
            yield Send("bell")
        if "events again" not in self.leave_out:
            if (yield Load("out_block")) and (yield from self.writable()):
                yield from self.make_room()
            yield from self.notify()
        return Again(*rest)

    def rest_of_text(self, text, ends=False):
        """What the peer sends again."""
        return Again(self.replica, (text - (yield Load("rx_tail")), ends))

    def rest_of_room(self, count):
        return Again(self.acknowledged, (count - (yield Load("tx_head")),))

    # The application -----------------------------------------------------------------------------

    def ask(self):
        """signal.c: neat_notify. How marking and ringing reaches the replica: mark(), served()."""
        yield Or("request", 1)
        yield Ring("commands")

    def poller(self, wanted):
        """An epoll instance until it has seen `wanted` bytes: preload/track.c, track; shim/poller.c."""
        if "join before the look" in self.leave_out:
            seen = yield Load("rx_tail")
            yield Or("waiters", POLLER)
        else:
            yield Or("waiters", POLLER)
            seen = yield Load("rx_tail")
        return Again(self.poll, (seen, wanted))

    def poll(self, seen, wanted):
        """preload/wait.c: at_once, sleep_once."""
        if seen >= wanted:
            yield AndNot("waiters", POLLER)
            return None
        news = yield from self.harvest()
        if not news:
            yield Store("asleep", 1)
            yield from self.fence("asleep before the last look")
            news = yield from self.harvest()
            if not news:
                yield Receive("bell")
                news = yield from self.harvest()
            yield Store("asleep", 0)
        if news:
            seen = yield Load("rx_tail")
        return Again(self.poll, (seen, wanted))

    def harvest(self):
        """shim/poller.c: neat_poller_harvest. The bit is taken away before the socket is looked at."""
        if (yield Load("summary")) and (yield Swap("summary", 0)):
            return (yield Swap("events", 0))
        return 0

    def poller_of_room(self):
        """An epoll instance until there is room in a ring that was full."""
        yield Or("waiters", POLLER)
        return Again(self.poll_room)

    def poll_room(self):
        if (yield from self.room_in_memory()):
            return None
        yield Store("asleep", 1)
        yield Fence()
        if not (yield from self.harvest()):
            yield Receive("bell")
        yield Store("asleep", 0)
        return Again(self.poll_room)

    def room_in_memory(self):
        """readiness.c: writable()."""
        if (yield from self.writable()):
            return True
        if not (yield Load("out_block")):
            yield Swap("out_block", WANTED)  # in the code by compare-and-exchange
        if "look after asking for room" in self.leave_out:
            return False
        return (yield from self.writable())

    def receiver(self, count):
        """stream.c: pull, for `count` single bytes; signal.c: neat_await_message."""
        if not count:
            return None
        if (yield from self.take_byte()):
            return Again(self.receiver, (count - 1,))
        head = yield Load("rx_head")
        if "count before the look" in self.leave_out and (yield Load("rx_tail")) != head:
            return Again(self.receiver, (count,))
        sleepers = yield Add("waiters", WAITER)
        news = "count before the look" not in self.leave_out and (yield Load("rx_tail")) != head
        if not news and sleepers >= 2 * WAITER:
            yield Await("descriptor")
        elif not news:
            yield Receive("descriptor")
            yield Swap("in_token", 0)
        yield Add("waiters", -WAITER)
        return Again(self.receiver, (count,))

    def take_byte(self):
        """stream.c: locked_take, take; signal.c: neat_take_token. What is left behind is shown again."""
        yield Receive("rx_lock")
        tail, head = (yield Load("rx_tail")), (yield Load("rx_head"))
        if tail != head:
            yield Swap("rx_head", head + 1)
        if tail - head <= 1 and (yield Load("in_token")) and (yield Take("descriptor")):
            yield Swap("in_token", 0)
        left = (yield Load("rx_tail")) != (yield Load("rx_head"))
        if left and "show again what is left" not in self.leave_out and (yield Load("waiters")) >= UNSEEN:
            yield from self.ask()
        yield Send("rx_lock")
        return tail != head

    def kernel(self):
        """A wait that nobody counts, in the kernel's epoll: readiness.c, neat_wait_unseen."""
        if "show what came before" in self.leave_out:
            yield Or("waiters", UNSEEN)
        elif not (yield Or("waiters", UNSEEN)) & UNSEEN:
            yield from self.ask()
        yield Await("descriptor")

    def sender(self, tail, count):
        """stream_out.c: push of `count` bytes in a call that may sleep; signal.c: neat_fill."""
        if tail == count:
            return None
        if tail - (yield Load("tx_head")) < RING:
            yield Swap("tx_tail", tail + 1)
            yield Ring("commands")
            return Again(self.sender, (tail + 1, count))
        if (yield Load("out_block")) in (0, WANTED):
            yield Send("fills")
            yield Swap("out_block", 1)
        if "look after the fill" not in self.leave_out and (yield from self.writable()):
            yield from self.ask()
        yield AwaitNone("fills")
        return Again(self.sender, (tail, count))

    # Commands: the other way ---------------------------------------------------------------------

    def mark(self, count):
        """signal.c: neat_mark, neat_ring, `count` times."""
        if not count:
            return None
        yield Store("tx_tail", (yield Load("tx_tail")) + 1)
        if "dirty before summary" in self.leave_out:
            yield Or("dirty_summary", 1)
            yield Or("dirty", 1)
        else:
            yield Or("dirty", 1)
            yield Or("dirty_summary", 1)
        if (yield Load("sleeping")) and (yield Swap("sleeping", 0)):
            yield Ring("doorbell")
        return Again(self.mark, (count - 1,))

    def served(self, seen, count):
        """replica/loop.pyx: rest; stack/channels.pyx: channel_next_dirty. Until command `count` is seen."""
        if seen >= count:
            return None
        if (yield Load("dirty_summary")) and (yield Swap("dirty_summary", 0)) and (yield Swap("dirty", 0)):
            return Again(self.served, ((yield Load("tx_tail")), count))
        yield Store("sleeping", 1)
        yield from self.fence("sleeping before the last look")
        if not (yield Load("dirty_summary")):
            yield Receive("doorbell")
        yield Store("sleeping", 0)
        return Again(self.served, (seen, count))
