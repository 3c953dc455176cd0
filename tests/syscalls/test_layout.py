"""neat/abi/messages.py against the C headers, by asking the C compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest

from neat.abi import messages
from neat.abi.messages import Address, Message, Op

NEAT = Path(__file__).parents[2] / "neat"
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include "abi/control.h"
int main(void) {
    struct neat_msg m;
    memset(&m, 0, sizeof m);
    m.magic = NEAT_MSG_MAGIC; m.op = NEAT_OP_CONNECT; m.flags = 1; m.seq = 2; m.error = -3; m.app = 4;
    m.replica = 5; m.incarnation = 6; m.token = 7; m.sock = 8; m.generation = 9; m.bind_id = 10;
    m.backlog = -11; m.options = 12; m.prefix = 13; m.local.family = 4; m.local.protocol = 17;
    m.local.port = 14; m.local.scope = 15;
    memcpy(m.local.addr, "\x0a\x4d\x00\x02", 4); m.remote.port = 16;
    for (unsigned i = 0; i < 12; i++) m.u[i] = 100 + i;
    for (size_t i = 0; i < sizeof m; i++) printf("%02x", ((unsigned char *)&m)[i]);
    struct neat_channel c = {NEAT_CHANNEL_MAGIC, NEAT_CHANNEL_VERSION, 1, 2, 3, 64, 4096, 8192};
    printf(" ");
    for (size_t i = 0; i < 36; i++) printf("%02x", ((unsigned char *)&c)[i]);
    printf(" %llu", (unsigned long long)neat_channel_bytes(4096, 1 << 18, 1 << 17));
    printf(" %zu %u %u %u", sizeof(struct neat_sock), NEAT_SOCKS_OFFSET, NEAT_SHARED_SOCKS, NEAT_MAX_SOCKS);
    printf(" %d,%d,%d,%d", NEAT_OP_PREFER, NEAT_OP_WELCOME, NEAT_OP_REPLICA_HELLO, NEAT_EV_REPLICA);
    printf(" %u", NEAT_OVER_OFFSET);
    return 0;
}
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to build the project anyway"
    place = tmp_path_factory.mktemp("layout")
    (place / "layout.c").write_text(PROGRAM)
    subprocess.run([compiler, f"-I{NEAT}", "-o", place / "layout", place / "layout.c"], check=True)
    return subprocess.run([place / "layout"], capture_output=True, text=True, check=True).stdout.split()


def test_message(answers):
    local = Address(4, 17, 14, 15, b"\x0a\x4d\x00\x02" + bytes(12))
    message = Message(
        Op.CONNECT,
        1,
        2,
        -3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        -11,
        12,
        13,
        local,
        Address(port=16),
        tuple(range(100, 112)),
    )
    assert message.pack().hex() == answers[0]
    assert Message.unpack(bytes.fromhex(answers[0])) == message


def test_channel(answers):
    assert messages.channel_header(1, 2, 3, 64, 4096, 8192).hex() == answers[1]
    assert messages.channel_bytes(4096, 1 << 18, 1 << 17) == int(answers[2])
    sizes = (messages.SOCK_BYTES, messages.SOCKS_OFFSET, messages.SHARED_SOCKS, messages.MAX_SOCKS)
    assert sizes == tuple(map(int, answers[3:7]))
    assert int(answers[8]) == messages.OVER_OFFSET


def test_numbers_of_ops(answers):
    last = (Op.PREFER, Op.WELCOME, Op.REPLICA_HELLO, Op.REPLICA)
    assert ",".join(str(int(op)) for op in last) == answers[7]
