"""`neat up`: check everything that can be checked, start the guardian, wait until the stack is ready."""

import json
import os
import resource
import secrets
import select
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import click

from neat import placement, rundir
from neat.boot import Boot
from neat.cli.manage import clean_stale, end_guardian
from neat.config import Config, ConfigError, load
from neat.supervisor.netns import clean as clean_netns

READY_S = 20.0
LOG_BYTES = 1 << 20
LOG_TAIL_LINES = 12
DESCRIPTORS, DESCRIPTORS_A_REPLICA = 160, 16  # that a stack needs before it has any connection
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
PROC_STATUS = Path("/proc/self/status")


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value`, the value in TOML or a bare string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r}: must be key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


@click.command()
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="Settings, in TOML.")
@click.option("--name", envvar="NEAT_STACK", help="Of the stack.")
@click.option("--replicas", type=int)
@click.option("--netns", help="A network namespace by name, or `none`: the current one.")
@click.option("--tap", help="Name of the TAP device.")
@click.option("--address", metavar="CIDR", help="Of the stack.")
@click.option("--gateway", metavar="IP", help="The other end of the wire: the TAP device's own address.")
@click.option("--recovery", metavar="HOW", help="Of a replica's connections: `stateful` or `stateless`.")
@click.option("--standby", type=int, metavar="N", help="Warm processes that wait for one to fail (0 to 4).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting.")
@click.option("--detach", is_flag=True, help="Return when the stack is ready.")
@click.option("--owner", type=int, metavar="PID", help="With --detach: end the stack when this process ends.")
def up(path: Path | None, settings: tuple[str, ...], detach: bool, owner: int | None, **options: Any) -> None:
    """Start a stack. Without --detach: show what happens, until Ctrl-C ends it."""
    try:
        config = load(
            path, dict(map(parse_setting, settings)) | {k: v for k, v in options.items() if v is not None}
        )
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if owner is not None and not detach:
        raise click.UsageError("--owner goes with --detach")
    check_privileges(config)
    check_descriptors(config)
    check_latency(config)
    check_placement(config)
    directory = rundir.path(config.name)
    check_socket_path(directory)
    leash, holder = make_leash(detach, owner)
    try:
        lock = rundir.acquire(directory)
    except rundir.InUse:
        raise click.ClickException(f"a stack called {config.name!r} is up already (in {directory})") from None
    except OSError as error:
        raise click.ClickException(f"run directory {directory}: {error.strerror}") from None
    clean_netns(directory)
    rundir.clean(directory, keep=(rundir.LOCK, rundir.LOG, rundir.LOG + ".1", *rundir.CARETAKER))
    log = open_log(directory / rundir.LOG)
    guardian, report = start_guardian(config, directory, lock, log, leash)
    try:
        outcome = wait_ready(report)
        if "error" in outcome:
            end_guardian(guardian.pid)
            guardian.wait()
            raise click.ClickException(f"{config.name}: {outcome['error']}{log_tail(log)}")
        what = f"{config.replicas} replicas at {config.interface.ip}"
        click.echo(f"{config.name}: up, {what} (guardian {guardian.pid})")
        if not detach:
            sys.stdout.flush()
            follow(log, guardian)
    except KeyboardInterrupt:
        end_guardian(guardian.pid)
        guardian.wait()
        clean_stale(config.name)  # it may have been too young to do so
        if detach:
            raise
        click.echo(f"{config.name}: down")
        return
    finally:
        if holder >= 0:
            os.close(holder)
    if not detach and guardian.returncode:
        raise click.ClickException(f"{config.name}: the stack ended (guardian status {guardian.returncode})")
    guardian.returncode = guardian.returncode or 0  # a detached guardian is no child to wait for


def check_privileges(config: Config) -> None:
    effective = int(PROC_STATUS.read_text().partition("CapEff:")[2].split()[0], 16)
    missing = not effective >> CAP_NET_ADMIN & 1 or (
        config.netns != "none" and not effective >> CAP_SYS_ADMIN & 1
    )
    if missing:
        wanted = "CAP_NET_ADMIN" if config.netns == "none" else "CAP_NET_ADMIN and CAP_SYS_ADMIN"
        raise click.ClickException(f"`neat up` needs root ({wanted}) to make a TAP device")
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise click.ClickException(f"/dev/net/tun cannot be opened: {error.strerror}") from None


def check_latency(config: Config) -> None:
    from neat.supervisor.latency import usable

    why = usable(config.cpu_latency_us)
    if why:
        raise click.ClickException(f"cpu_latency_us = {config.cpu_latency_us} is not possible: {why}")


def check_placement(config: Config) -> None:
    try:
        placement.check_cores(config.placement, os.sched_getaffinity(0))
    except placement.PlacementError as error:
        raise click.ClickException(f"placement = {config.placement!r}: {error}") from None


def check_descriptors(config: Config) -> None:
    """The limit is raised as far as it may be: what we start inherits it."""
    from neat.supervisor.guardian import raise_descriptor_limit

    raise_descriptor_limit()
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS + DESCRIPTORS_A_REPLICA * config.replicas
    if limit < wanted:
        raise click.ClickException(
            f"a process may have {limit} open files (ulimit -n): {config.replicas} replicas need at least"
            f" {wanted}, and one more for each connection"
        )


def check_socket_path(directory: Path) -> None:
    if len(os.fsencode(directory / rundir.CONTROL_SOCKET)) > 107:
        raise click.ClickException(f"run directory {directory}: the path is too long for a unix socket")


def open_log(path: Path) -> int:
    """The log that guardian and components write to; what earlier stacks left in it is kept once, as
    stack.log.1."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name(rundir.LOG + ".1"))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.lseek(fd, 0, os.SEEK_END)
    return fd


def make_leash(detach: bool, owner: int | None) -> tuple[int, int]:
    """What becomes readable when the stack's owner is gone (-1: it has none), and the other end of that, if
    it is a pipe, which we hold (-1)."""
    if not detach:
        return os.pipe()
    if owner is None:
        return -1, -1
    try:
        return os.pidfd_open(owner), -1
    except OSError as error:
        raise click.ClickException(f"--owner {owner}: {error.strerror}") from None


def start_guardian(
    config: Config, directory: Path, lock: int, log: int, leash: int
) -> tuple[subprocess.Popen[bytes], int]:
    """The guardian, and the pipe on which it reports. Closes our copies of what it was given, but the log."""
    from neat.supervisor import process

    report, report_writer = os.pipe()
    fds = {"lock": lock, "report": report_writer}
    if leash >= 0:
        fds["owner"] = leash
    boot = Boot("guardian", 1, config, fds, secret=secrets.token_hex(32))
    env = process.environment() | {"NEAT_RUN_DIR": str(directory.absolute())}
    guardian = process.start("neat.supervisor.guardian", boot, env, log, new_session=True)
    for key in fds:
        os.close(fds[key])
    return guardian, report


def wait_ready(report: int) -> dict[str, Any]:
    """What the guardian says: {"ready": true} or {"error": text}."""
    deadline = time.monotonic() + READY_S
    data = b""
    while not data.endswith(b"\n"):
        if not select.select([report], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return {"error": f"not ready within {READY_S:.0f} s"}
        part = os.read(report, 4096)
        if not part:
            return {"error": "the guardian ended before the stack was ready"}
        data += part
    return json.loads(data)


def log_tail(log: int) -> str:
    """The last lines of the log, to go under an error."""
    size = os.fstat(log).st_size
    start = max(0, size - 4096)
    lines = os.pread(log, size - start, start).decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "".join(f"\n  {line}" for line in lines)


def follow(log: int, guardian: subprocess.Popen[bytes]) -> None:
    """Copy the log to standard output until the guardian ends."""
    position = 0
    pidfd = os.pidfd_open(guardian.pid)
    try:
        ended = False
        while not ended:
            ended = bool(select.select([pidfd], [], [], 0.2)[0])
            size = os.fstat(log).st_size
            position = 0 if size < position else position  # it was trimmed
            while data := os.pread(log, 1 << 16, position):
                position += len(data)
                sys.stdout.buffer.write(data)
            sys.stdout.flush()
        guardian.wait()
    finally:
        os.close(pidfd)
