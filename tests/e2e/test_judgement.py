"""A replica that beats, empties its rings and talks nonsense is found by what its peers do, and replaced."""

import pytest

from neat.tools.drill.inject.faults import NOP, decoder
from neat.tools.drill.inject.process import Memory, functions
from tests.support import each_datapath

pytestmark = [pytest.mark.netns, each_datapath]


def spoil(pid: int, name: str, mnemonics: tuple[str, ...]) -> int:
    """Make nothing of each such instruction in a function of this process; how many there were."""
    found = 0
    with Memory(pid) as memory:
        for function in functions(pid, "replica"):
            if not function.name.endswith(name):
                continue
            text = memory.read(function.address, function.size)
            for insn in decoder().disasm(text, function.address):
                if insn.mnemonic in mnemonics:
                    memory.write(insn.address, NOP * insn.size)
                    found += 1
    return found


def silence(pid: int, name: str) -> None:
    """Make a function of this process return 0 at once."""
    (function,) = (f for f in functions(pid, "replica") if f.name.endswith(name))
    with Memory(pid) as memory:
        memory.write(function.address, bytes.fromhex("31c0c3"))  # xor eax, eax; ret


def reasons(served) -> list[str]:
    events = served.stack.status()["events"]
    return [event["detail"] for event in events if event["what"].startswith("hung")]


@pytest.mark.parametrize("served", [{"replicas": 1}], indirect=True)
def test_connections_of_a_replica_whose_byte_order_is_wrong(served):
    old = served.stack.component("replica0")["pid"]
    with served.client("hold", "--count=20", patience=60) as held:
        assert spoil(old, "segment_write", ("bswap",))
        assert not held.ask("round")["lost"]
        served.replaced("replica0", old, patience=60)
    assert served.answers()
    assert reasons(served)


@pytest.mark.parametrize("function", ["segment_write", "_send_text", "_accept_event"])
def test_new_connections_to_one_of_many(served, function):
    """It answers with nonsense; or it acknowledges what comes, and no answer leaves; or no program hears of
    the connection."""
    old = served.stack.component("replica1")["pid"]
    if function == "segment_write":
        assert spoil(old, function, ("bswap",))
    else:
        silence(old, function)
    with served.client("churn", "--count=300", "--parallel=60", patience=200):
        served.replaced("replica1", old, patience=100)
    assert "while others had" in reasons(served)[-1]
    with served.client("churn", "--count=60") as client:
        assert client.first["ok"] == 60
