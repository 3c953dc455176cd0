"""The settings of a stack: a TOML file, each key overridable by an option of `neat up`, all checked here."""

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from neat import filter as packet_filter
from neat import placement, rundir
from neat import routes as rules

Name = Annotated[str, Meta(pattern=rundir.NAME)]
SLOTS = 16
Replicas = Annotated[int, Meta(ge=1, le=SLOTS)]
Shape = Literal["single", "multi"]
RingBytes = Annotated[int, Meta(ge=1 << 18, le=1 << 26)]
SocketBytes = Annotated[int, Meta(ge=1 << 14, le=1 << 24)]


MOST_OFTEN_MS, MOST_SELDOM_MS = 1_000, 31 * 86_400_000  # of rolling restarts
THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


class ConfigError(ValueError):
    """A setting is wrong; the text names it, its value, and what would be right."""


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All settings. Sizes in bytes, times in milliseconds."""

    name: Name = "default"
    replicas: Replicas = 3
    # a replica is one process, or has IP, UDP and TCP in processes of their own (neat/parts.py); a list has
    # one for each slot, the last one also for those that follow
    components: Shape | list[Shape] = "single"
    netns: str = ""  # "": a namespace of the stack's own; "none": the current one; else a named one
    tap: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,15}$")] = "neat0"
    address: str = "10.77.0.2/24"  # of the stack
    gateway: str = "10.77.0.1"  # of the wire's other end; set on the TAP device
    mac: str = ""  # of the stack; "": made from the name
    mtu: Annotated[int, Meta(ge=576, le=65521)] = 1500
    ring_bytes: RingBytes = 1 << 22  # each direction of a link, a power of two; holds a few windows, or drops
    socket_rx_bytes: SocketBytes = 1 << 21  # a power of two; TCP begins with less: tcp/window.pyx
    socket_tx_bytes: SocketBytes = 1 << 20  # a power of two
    sockets_per_app: Annotated[int, Meta(ge=512, le=16384, multiple_of=64)] = 4096  # in each replica
    max_connections: Annotated[int, Meta(ge=64, le=65536)] = 8192  # in each replica
    max_listeners: Annotated[int, Meta(ge=1, le=4096)] = 4096  # in each replica, of all applications
    max_udp: Annotated[int, Meta(ge=1, le=4096)] = 4096  # likewise; one application has at most 256 of both
    app_memory: Annotated[int, Meta(ge=1 << 24, le=1 << 40)] = 1 << 32  # of one application's socket buffers
    flow_entries: Annotated[int, Meta(ge=1024, le=1 << 20)] = 1 << 16  # a power of two
    offload: bool = True
    # how frames get to replicas: "queues": each reads its own queue of the device, which the kernel steers;
    # "driver": all from the driver's rings; "auto": what is better, of what this machine can do
    datapath: Literal["auto", "queues", "driver"] = "auto"
    time_wait_ms: Annotated[int, Meta(ge=0, le=240_000)] = 60_000
    min_rto_ms: Annotated[int, Meta(ge=10, le=3_000)] = 200
    max_rto_ms: Annotated[int, Meta(ge=1_000, le=240_000)] = 120_000
    delayed_ack_ms: Annotated[int, Meta(ge=0, le=500)] = 40
    syn_retries: Annotated[int, Meta(ge=1, le=20)] = 6
    data_retries: Annotated[int, Meta(ge=3, le=30)] = 15
    spin_us: Annotated[int, Meta(ge=0, le=1_000)] = 50  # before a loop sleeps
    # asked of the kernel while replicas have work: how many µs an idle processor may take to wake; 0: it
    # spins; -1: nothing is asked
    cpu_latency_us: Annotated[int, Meta(ge=-1, le=10_000)] = -1
    filter: list[str] = []  # rules for packets, like "input tcp dport 22 drop": see neat/filter.py
    routes: list[str] = []  # which sockets of programs are the stack's: see neat/routes.py
    # of a replica that died: its connections go on in a successor, or are lost with it
    recovery: Literal["stateful", "stateless"] = "stateful"
    # how many replicas there are: as `neat scale` says, or by their load (neat/supervisor/autoscale.py)
    scaling: Literal["manual", "auto"] = "manual"
    scale_min: Replicas = 1
    scale_max: Replicas = 8
    scale_up_load: Annotated[float, Meta(gt=0, le=100)] = 75  # percent of the time that replicas work
    scale_down_load: Annotated[float, Meta(ge=0, lt=100)] = 45  # of those that would be left
    scale_cooldown_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 10_000  # after a change
    standby: Annotated[int, Meta(ge=0, le=4)] = 1  # warm processes that wait for a component to fail
    # a rolling restart, again and again: with new address-space layouts; 0: none
    restart_every_ms: Annotated[int, Meta(ge=0, le=MOST_SELDOM_MS)] = 0
    # which components run on which processors: neat/placement.py
    placement: str | list[str] = ""
    poison: bool = False  # for tests: a TCP option kills the replica that gets it (neat/stack/poison.pxd)
    heartbeat_ms: Annotated[int, Meta(ge=10, le=1_000)] = 100
    hang_ms: Annotated[int, Meta(ge=100, le=60_000)] = 350
    # how long what a replica does may be in vain before it is replaced (neat/supervisor/judgement.py); 0: for
    # ever
    in_vain_ms: Annotated[int, Meta(ge=0, le=600_000)] = 2_000
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        for key in ("ring_bytes", "socket_rx_bytes", "socket_tx_bytes", "flow_entries"):
            value = getattr(self, key)
            if value & (value - 1):
                raise ConfigError(f"{key} = {value}: must be a power of two")
        right = "an address with a prefix, like 10.77.0.2/24"
        interface = self._parse("address", ipaddress.IPv4Interface, right)
        gateway = self._parse("gateway", ipaddress.IPv4Address, "an IPv4 address, like 10.77.0.1")
        if gateway not in interface.network or gateway == interface.ip:
            right = f"must be another address inside {interface.network}"
            raise ConfigError(f"gateway = {self.gateway!r}: {right}")
        if interface.network.prefixlen > 30:
            right = "the prefix must leave room for two hosts (/30 or shorter)"
            raise ConfigError(f"address = {self.address!r}: {right}")
        for key, address in (("address", interface.ip), ("gateway", gateway)):
            self._check_host(key, address, interface.network)
        if self.mac:
            self.mac_bytes()
        try:
            rules.merge([rules.check(rule) for rule in self.routes])
        except rules.RouteError as error:
            raise ConfigError(f"routes = {self.routes!r}: {error}") from None
        try:
            packet_filter.parse_lines(self.filter)
        except packet_filter.FilterError as error:
            raise ConfigError(f"filter: {error}") from None
        self._check_components()
        if self.scale_min > self.scale_max:
            right = f"must not be more than scale_max ({self.scale_max})"
            raise ConfigError(f"scale_min = {self.scale_min}: {right}")
        if self.scale_down_load >= self.scale_up_load:
            right = f"must be less than scale_up_load ({self.scale_up_load:g})"
            raise ConfigError(f"scale_down_load = {self.scale_down_load:g}: {right}")
        self._check_restarts()
        try:
            placement.check(self.placement)
        except placement.PlacementError as error:
            raise ConfigError(f"placement = {self.placement!r}: {error}") from None
        if self.hang_ms < 3 * self.heartbeat_ms:
            raise ConfigError(
                f"hang_ms = {self.hang_ms}: must be at least three times heartbeat_ms ({self.heartbeat_ms})"
            )

    def _check_restarts(self) -> None:
        every = self.restart_every_ms
        if 0 < every < MOST_OFTEN_MS:
            raise ConfigError(f"restart_every_ms = {every}: must be 0 or at least {MOST_OFTEN_MS}")
        if every and self.recovery != "stateful":
            right = 'needs recovery = "stateful": each restart would end connections'
            raise ConfigError(f"restart_every_ms = {every}: {right}")

    def _check_components(self) -> None:
        if not self.components:
            raise ConfigError("components = []: must name at least one")
        for key in ("replicas", "scale_max") if self.has_parts else ():
            if getattr(self, key) > SLOTS // 2:
                right = f"must be at most {SLOTS // 2} where components has multi"
                raise ConfigError(f"{key} = {getattr(self, key)}: {right}")

    def components_of(self, slot: int) -> Shape:
        """What a replica in this slot is made of."""
        if isinstance(self.components, str):
            return self.components
        return self.components[min(slot, len(self.components) - 1)]

    @property
    def has_parts(self) -> bool:
        """Whether any slot has a multi-component replica."""
        return "multi" in ([self.components] if isinstance(self.components, str) else self.components)

    def _parse(self, key: str, kind: Any, right: str) -> Any:
        try:
            return kind(getattr(self, key))
        except ValueError:
            raise ConfigError(f"{key} = {getattr(self, key)!r}: must be {right}") from None

    def _check_host(self, key: str, address: ipaddress.IPv4Address, network: ipaddress.IPv4Network) -> None:
        """An address that one host can have, and talk from (RFC 1122 §3.2.1.3)."""
        if address in (network.network_address, network.broadcast_address):
            what = f"not the first or last address of {network}"
        elif address.is_loopback or address.is_multicast or address.is_reserved or address in THIS_NETWORK:
            what = "not a loopback, multicast or reserved one"
        else:
            return
        raise ConfigError(f"{key} = {getattr(self, key)!r}: must be a host's address, {what}")

    @property
    def interface(self) -> ipaddress.IPv4Interface:
        return ipaddress.IPv4Interface(self.address)

    def spin_ns(self) -> int:
        """Nanoseconds that a loop looks for work before it sleeps, while it is alone on its core
        (neat/shm/idle.pxd)."""
        return self.spin_us * 1000

    def mac_bytes(self) -> bytes:
        """The stack's MAC address: as configured, or a local one made from the stack's name."""
        if not self.mac:
            import hashlib

            return b"\x02\x4e" + hashlib.sha256(self.name.encode()).digest()[:4]
        try:
            raw = bytes(int(part, 16) for part in self.mac.split(":"))
        except ValueError:
            raw = b""
        if len(raw) != 6 or raw[0] & 1 or not any(raw):
            raise ConfigError(f"mac = {self.mac!r}: must be a unicast MAC address, like 02:4e:00:00:00:01")
        return raw


def build(settings: dict[str, Any], source: str = "settings") -> Config:
    """A checked Config from plain values. ConfigError names the setting that is wrong."""
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise ConfigError(f"{source}: {cause}") from None
        text = str(error)
        key = text.partition("$.")[2].rstrip("`")
        value = f" = {settings[key]!r}" if key in settings else ""
        reason = text.partition(" - at")[0]
        raise ConfigError(f"{source}: {key}{value}: {reason}".replace(": :", ":")) from None


def load(path: Path | None, overrides: dict[str, Any]) -> Config:
    """Read a TOML file (or none), apply overrides that are not None, check everything."""
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None
    settings.update({key: value for key, value in overrides.items() if value is not None})
    return build(settings, str(path) if path else "options")
