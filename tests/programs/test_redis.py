"""redis-server, with its own benchmark as the client."""

import pytest

from tests.programs.conftest import ADDRESS, program

pytestmark = pytest.mark.netns

PORT = 6379
OPTIONS = (
    "--port",
    str(PORT),
    "--bind",
    ADDRESS,
    "--save",
    "",
    "--appendonly",
    "no",
    "--protected-mode",
    "no",
)


def cli(stack, *command):
    return stack.peer(
        program("redis-cli"), "-h", ADDRESS, "-p", str(PORT), *command, timeout=20
    ).stdout.strip()


def test_values_come_back(stack, serve, tmp_path):
    value = "x" * 300_000
    with serve("redis-server", *OPTIONS, port=PORT, cwd=tmp_path) as server:
        assert cli(stack, "PING") == "PONG"
        assert cli(stack, "SET", "key", "value") == "OK"
        assert cli(stack, "GET", "key") == "value"
        assert (
            cli(stack, "EVAL", f"return redis.call('SET', 'big', string.rep('x', {len(value)}))", "0") == "OK"
        )
        assert cli(stack, "GET", "big") == value
        assert "maxclients" in cli(stack, "INFO", "clients")
        assert server.end() == 0


@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_benchmark(stack, serve, tmp_path, pipeline):
    options = ["-h", ADDRESS, "-p", str(PORT), "-t", "ping,set,get,lpush,lrange_100", "-q"]
    load = ["-n", "2000", "-c", "20", "-P", pipeline]
    with serve("redis-server", *OPTIONS, port=PORT, cwd=tmp_path):
        done = stack.peer(program("redis-benchmark"), *options, *load, timeout=60)
        assert cli(stack, "DBSIZE") != "0"
    rates = [line for line in done.stdout.replace("\r", "\n").splitlines() if "requests per second" in line]
    assert len(rates) >= 5, done.stdout
