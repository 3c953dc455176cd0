"""The layout that Python knows, against what the C compiler says of the headers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from neat.abi import declare, layout
from neat.abi.messages import MESSAGE_BYTES, Address, BadMessage, BindFlag, Message, Op, channel_header

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
    for (size_t i = 0; i < sizeof c; i++) printf("%02x", ((unsigned char *)&c)[i]);
    printf(" %llu", (unsigned long long)neat_channel_bytes(4096, 1 << 18, 1 << 17));
    return 0;
}
"""
MESSAGE = Message(
    Op.CONNECT,
    flags=1,
    seq=2,
    error=-3,
    app=4,
    replica=5,
    incarnation=6,
    token=7,
    sock=8,
    generation=9,
    bind_id=10,
    backlog=-11,
    options=12,
    prefix=13,
    local=Address(4, 17, 14, 15, b"\x0a\x4d\x00\x02" + bytes(12)),
    remote=Address(port=16),
    u=tuple(range(100, 112)),
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to build the project anyway"
    place = tmp_path_factory.mktemp("layout")
    (place / "layout.c").write_text(PROGRAM)
    subprocess.run([compiler, f"-I{NEAT}", "-o", place / "layout", place / "layout.c"], check=True)
    return subprocess.run([place / "layout"], capture_output=True, text=True, check=True).stdout.split()


def test_message(answers):
    assert MESSAGE.pack().hex() == answers[0]
    assert Message.unpack(bytes.fromhex(answers[0])) == MESSAGE


@pytest.mark.parametrize("data", [b"", MESSAGE.pack()[:-1], MESSAGE.pack() + b"\0", bytes(MESSAGE_BYTES)])
def test_what_is_no_message(data):
    with pytest.raises(BadMessage):
        Message.unpack(data)


def test_channel(answers):
    assert channel_header(1, 2, 3, 64, 4096, 8192).hex() == answers[1]
    assert layout.channel_bytes(4096, 1 << 18, 1 << 17) == int(answers[2])


@pytest.mark.parametrize(("enum", "prefixes"), [(Op, ("NEAT_OP_", "NEAT_EV_")), (BindFlag, ("NEAT_BIND_",))])
def test_enums_name_all_there_is(enum, prefixes):
    in_c = {
        name.removeprefix(prefix): value
        for name, value in layout.CONSTANTS.items()
        for prefix in prefixes
        if name.startswith(prefix)
    }
    assert in_c == {member.name: member.value for member in enum}


@pytest.mark.parametrize("struct", layout.STRUCTS.values(), ids=lambda struct: struct.name)
def test_structs_have_no_hidden_padding(struct):
    """So every byte that crosses is somebody's, and nothing depends on a compiler's alignment."""
    at = 0
    for field in struct.fields.values():
        assert field.offset == at
        at += field.size * field.count
    assert at == struct.size


def test_fields_are_read_and_written():
    memory = bytearray(2 * layout.neat_msg.size)
    where = {"buffer": memory, "at": layout.neat_msg.size}
    for name, value in (("error", -3), ("token", 2**64 - 1), ("op", 0x1FFFF)):
        layout.neat_msg.put(name=name, value=value, **where)
    layout.neat_msg.put(memory, "u", 5, layout.neat_msg.size, 11)
    seen = [layout.neat_msg.get(name=name, **where) for name in ("error", "token", "op", "flags")]
    assert seen == [-3, 2**64 - 1, 0xFFFF, 0]  # what is too large does not reach the next field
    assert layout.neat_msg.get(memory, "u", layout.neat_msg.size, 11) == 5
    assert not any(memory[: layout.neat_msg.size])


# What reads the headers.


def test_every_kind_of_declaration():
    header = declare.read(
        "sample",
        """
        /* struct not_this { uint8_t a; }; */
        #ifndef NEAT_SAMPLE_H
        #define NEAT_SAMPLE_H
        #include <stdint.h>
        #include "channel.h"
        #define COUNT (2 * 4u)      /* a number */
        #define BITS 0x80000000u
        #define NAME UINT64_C(1)
        enum { ONE = 1, TWO };
        enum named { THREE = 1u << 3, FOUR = 4, };
        struct sample {
            uint8_t a, _pad[3];
            struct neat_addr here, there;
            uint64_t table[COUNT][COUNT / 4];
        };
        _Static_assert(sizeof(struct sample) > 0, "some");
        static inline uint32_t first(const struct sample *s, uint32_t n) { if (n) { n++; } return s->a; }
        #endif
        """,
    )
    channel = declare.Header("channel", structs={"neat_addr": []})
    text = declare.pxd(header, [channel])
    assert "from neat.abi.channel cimport neat_addr" in text
    body = [line.strip() for line in text.split("nogil:\n")[1].splitlines()]
    assert body == [
        *("enum: COUNT", "const uint32_t BITS", "const uint64_t NAME"),
        *("enum: ONE", "enum: TWO", "enum: THREE", "enum: FOUR"),
        *("struct sample:", "uint8_t a", "neat_addr here", "neat_addr there"),
        "uint64_t table[COUNT][COUNT // 4]",
        "uint32_t first(const sample *s, uint32_t n)",
    ]
    assert "FIELD(sample, uint8_t, _pad)" in declare.table([header])


@pytest.mark.parametrize(
    "text",
    [
        "typedef int number;",
        "#define SQUARE(x) ((x) * (x))\n",
        "struct s { uint32_t a : 3; };",
        "struct s { union { uint32_t a; }; };",
        "struct s { uint32_t *a; };",
        "static inline int f(void) { return 0;",
        "extern int number;",
    ],
)
def test_what_it_does_not_read_is_an_error(text):
    with pytest.raises(declare.NotUnderstood):
        declare.read("sample", text)


def test_nothing_else_is_needed_for_a_new_field(tmp_path):
    """A field and a constant more in a header are in all that is made of it."""
    for name in declare.HEADERS:
        text = (NEAT / "abi" / name).read_text()
        if name == "channel.h":
            new = "#define NEAT_NEW 7u\nstruct neat_sock { uint64_t fresh;"
            text = text.replace("struct neat_sock {", new, 1)
        (tmp_path / name).write_text(text)
    declare.declare(tmp_path)
    made = (tmp_path / "channel.pxd").read_text()
    assert "uint64_t fresh" in made and "enum: NEAT_NEW" in made
    assert re.search(r"^FIELD\(neat_sock, uint64_t, fresh\)$", (tmp_path / "table.h").read_text(), re.M)
