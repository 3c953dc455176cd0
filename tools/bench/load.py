"""One run of a load generator, as numbers. Each is bounded in time; its failure is an error, not a result."""

import csv
import hashlib
import json
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

# Seconds that a client may take beyond its planned duration.
GRACE_S = 20.0

# What a connection of httperf manages at least, for its time limit.
SLOWEST_CALLS_PER_S = 1000

# How long a server of iperf3 may not listen: it closes its socket after each connection, and opens another.
IPERF3_PAUSE_S = 5.0

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

# Puts a command into the client's network namespace.
Inside = Callable[[Sequence[str]], list[str]]


class LoadError(Exception):
    """The load generator did not do its work; the text says what it said."""


class HttpResult(NamedTuple):
    requests: int
    seconds: float
    errors: int
    latency_p50_s: float
    latency_p99_s: float
    client_cpu_s: float


class BulkResult(NamedTuple):
    bytes: int
    seconds: float
    client_cpu_s: float


# Programs whose Debian package has another name.
PACKAGES = {
    "redis-benchmark": "redis-tools",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ip": "iproute2",
    "perf": "linux-perf",
}


def missing(*programs: str) -> str:
    """One line about those that are not there; "" when all are."""
    absent = [program for program in programs if shutil.which(program) is None]
    if not absent:
        return ""
    packages = dict.fromkeys(PACKAGES.get(program, program) for program in absent)
    return f"please install {' and '.join(absent)} (Debian: apt-get install {' '.join(packages)})"


def need(*programs: str) -> None:
    """One clear line when a program is missing."""
    if text := missing(*programs):
        raise click.ClickException(text)


def run(command: Sequence[str], seconds: float) -> tuple[str, float]:
    """Output and CPU seconds of a client that is planned to take `seconds`. LoadError."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        used_before = children_s()
        try:
            status = process.wait(seconds + GRACE_S)
        except subprocess.TimeoutExpired:
            raise LoadError(f"{' '.join(command)} did not end within {seconds + GRACE_S:.0f} s") from None
        finally:
            process.kill()
            process.wait()
        cpu = children_s() - used_before
        output.seek(0)
        text = output.read()
    if status != 0:
        raise LoadError(f"{' '.join(command)}: exit status {status}: {text.strip()[-300:]}")
    return text, cpu


def children_s() -> float:
    """CPU seconds of children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wrk(
    inside: Inside, url: str, *, connections: int, seconds: int, keep_alive: bool, threads: int
) -> HttpResult:
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "5s"]
    if not keep_alive:
        command += ["-H", "Connection: close"]
    text, cpu = run(inside([*command, url]), seconds)
    return parse_wrk(text, cpu)


def parse_wrk(text: str, cpu: float) -> HttpResult:
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    if total is None:
        raise LoadError(f"wrk said: {text.strip()[-300:]}")
    errors = sum(int(count) for count in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    errors += sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    latency = {
        percent: float(value) * UNITS[unit]
        for percent, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s|m)\b", text)
    }
    return HttpResult(
        int(total[1]),
        float(total[2]) * UNITS[total[3]],
        errors,
        latency.get("50", 0.0),
        latency.get("99", 0.0),
        cpu,
    )


def httperf(
    inside: Inside, host: str, port: int, path: str, *, connections: int, calls: int, rate: float
) -> HttpResult:
    """`connections` in all, `rate` of them begun a second whatever the server does, each with `calls`
    requests one after the other. Latency is a mean, not a median: httperf has no other."""
    command = ["httperf", "--hog", f"--server={host}", f"--port={port}", f"--uri={path}", "--timeout=5"]
    command += [f"--num-conns={connections}", f"--num-calls={calls}", f"--rate={rate:g}"]
    text, cpu = run(inside(command), connections / rate + calls / SLOWEST_CALLS_PER_S)
    return parse_httperf(text, cpu)


def parse_httperf(text: str, cpu: float) -> HttpResult:
    total = re.search(r"Total: connections (\d+) requests (\d+) replies (\d+) test-duration ([\d.]+) s", text)
    errors = re.search(r"Errors: total (\d+)", text)
    status = re.search(r"Reply status: 1xx=(\d+) 2xx=(\d+) 3xx=(\d+) 4xx=(\d+) 5xx=(\d+)", text)
    if total is None or errors is None or status is None:
        raise LoadError(f"httperf said: {text.strip()[-300:]}")
    latency = re.search(r"Reply time \[ms\]: response ([\d.]+)", text)
    mean = float(latency[1]) / 1e3 if latency else 0.0
    wrong = int(errors[1]) + int(total[3]) - int(status[2])
    return HttpResult(int(total[3]), float(total[4]), wrong, mean, 0.0, cpu)


def curl(inside: Inside, url: str, size: int, seconds: float = 60.0) -> BulkResult:
    """One download to /dev/null. LoadError unless it is complete and a 200."""
    command = ["curl", "-sS", "-o", "/dev/null", "--max-time", f"{seconds:g}", "-w", "%{json}", url]
    text, cpu = run(inside(command), seconds)
    facts: dict[str, Any] = json.loads(text[text.index("{") :])
    if facts["http_code"] != 200 or facts["size_download"] != size:
        raise LoadError(f"curl got {facts['size_download']} of {size} bytes with status {facts['http_code']}")
    return BulkResult(int(facts["size_download"]), float(facts["time_total"]), cpu)


def redis_benchmark(
    inside: Inside,
    host: str,
    port: int,
    *,
    connections: int,
    requests: int,
    size: int,
    keep_alive: bool,
    threads: int,
    test: str,
) -> HttpResult:
    """`requests` of `test` ("set" or "get") with a value of `size` bytes."""
    command = ["redis-benchmark", "-h", host, "-p", str(port), "-c", str(connections), "-n", str(requests)]
    command += ["-d", str(max(size, 1)), "-k", str(int(keep_alive)), "-t", test, "--csv"]
    if threads > 1:
        command += ["--threads", str(threads)]
    text, cpu = run(inside(command), requests / SLOWEST_CALLS_PER_S)
    return parse_redis(text, requests, cpu)


def parse_redis(text: str, requests: int, cpu: float) -> HttpResult:
    """The last row of the table; its latencies are in milliseconds."""
    rows = [row for row in csv.reader(text.splitlines()) if len(row) >= 6]
    try:
        named = dict(zip(rows[0], rows[-1], strict=True))
        rate, p50, p99 = (float(named[key]) for key in ("rps", "p50_latency_ms", "p99_latency_ms"))
        return HttpResult(requests, requests / rate, 0, p50 / 1e3, p99 / 1e3, cpu)
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        raise LoadError(f"redis-benchmark said: {text.strip()[-300:]}") from None


def iperf3(inside: Inside, host: str, port: int, seconds: int, *, reverse: bool) -> BulkResult:
    """One TCP stream from here to the server, or back; what the receiving end has counted."""
    command = ["iperf3", "--client", host, "--port", str(port), "--time", str(seconds), "--json"]
    if reverse:
        command.append("--reverse")
    deadline = time.monotonic() + IPERF3_PAUSE_S
    while True:
        try:
            text, cpu = run(inside(command), seconds)
            break
        except LoadError as error:
            if not re.search("refused|busy", str(error)) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        received = json.loads(text)["end"]["sum_received"]
        return BulkResult(int(received["bytes"]), float(received["seconds"]), cpu)
    except (ValueError, KeyError, TypeError):
        raise LoadError(f"iperf3 said: {text.strip()[-300:]}") from None


def verify(inside: Inside, url: str, digest: str, seconds: float = 60.0) -> None:
    """One download of which every byte is compared. LoadError."""
    command = inside(["curl", "-sS", "--max-time", f"{seconds:g}", url])
    found = hashlib.sha256()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        try:
            tail = b""
            while block := process.stdout.read(1 << 20):
                found.update(block)
                tail = block[-200:]
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise LoadError(f"{url}: {tail.decode(errors='replace').strip()} (status {process.returncode})")
    if found.hexdigest() != digest:
        raise LoadError(f"{url}: the download is not what was served")
