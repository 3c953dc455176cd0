"""The other process of the ring tests: `ring_peer.py ROLE RING_FD CAPACITY ...`."""

import ctypes
import os
import random
import sys

from neat.shm import doorbell, testing
from neat.shm.pyring import RING_HEADER, FrameRing, ring_bytes
from neat.shm.segment import Segment

HEAD = 64  # offset of RingHeader.head
LENGTHS = (0, 1, 8, 47, 48, 49, 60, 1514, 9000, 65000, 65549)


def payload(number: int) -> bytes:
    """What record `number` holds: anyone can check it without having seen the others."""
    body = bytes([number * 7 & 0xFF]) * LENGTHS[number * 31 % len(LENGTHS)]
    return number.to_bytes(8, "little") + body


def push(ring, number, bell=None):
    """Push record `number` and publish it, waiting for room."""
    while not ring.push(payload(number), stamp=number):
        if ring.publish() and bell is not None:
            doorbell.ring(bell)
        os.sched_yield()


def produce_until_killed(view, capacity):
    """A fork server: for each number on stdin, a child that produces from there on, to be killed."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            ring = FrameRing(view, capacity, producer=True)
            number = int(line)
            while True:
                push(ring, number)
                number += 1
                if number % 3 == 0:
                    ring.publish()
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("dead", flush=True)


def produce(view, capacity, count, bell):
    """`count` records, each published and rung for at once; often it waits for the consumer to sleep."""
    ring = FrameRing(view, capacity, producer=True)
    choose = random.Random(count)
    for number in range(count):
        push(ring, number, bell)
        if ring.publish():
            doorbell.ring(bell)
        if choose.random() < 0.5:
            for _ in range(choose.randrange(40)):
                if ring.sleeping:
                    break
                os.sched_yield()


def scribble(view, capacity, start, end, count, seed):
    """Random bytes, small and large values, anywhere in [start, end) of the ring's memory."""
    choose = random.Random(seed)
    for _ in range(count):
        place = choose.randrange(start, end - 8) & ~choose.choice((0, 7))
        value = choose.choice((choose.randbytes(8), (choose.randrange(capacity) & ~63).to_bytes(8, "little")))
        view[place : place + 8] = value


def lie(view, seed):
    """A consumer's head that jumps about until the process is killed."""
    head = ctypes.c_uint64.from_buffer(view, HEAD)
    choose = random.Random(seed)
    while True:
        head.value = choose.choice(
            (0, 64, choose.getrandbits(64), head.value + 64, head.value - 64 & (1 << 64) - 1)
        )


def main():
    role, fd, capacity, *rest = sys.argv[1:]
    capacity, numbers = int(capacity), [int(n) for n in rest]
    memory = Segment(int(fd), ring_bytes(capacity))
    view = memory.view
    if role == "killed":
        produce_until_killed(view, capacity)
    elif role == "produce":
        produce(view, capacity, *numbers)
    elif role == "produce_fast":
        count, bell, length = numbers
        testing.produce(memory.address, capacity, count, bell, length)
    elif role == "scribble_all":
        scribble(view, capacity, 0, ring_bytes(capacity), *numbers)
    elif role == "scribble_header":
        scribble(view, capacity, 0, RING_HEADER, *numbers)
    elif role == "lie":
        lie(view, *numbers)


if __name__ == "__main__":
    main()
