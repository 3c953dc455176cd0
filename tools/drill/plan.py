"""What a load does: how many connections of which kind, and when each of them sends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from neat.tools.drill.programs import BULK_BYTES as FILE_BYTES
from neat.tools.drill.programs import FILE_BYTES as SMALL_BYTES
from neat.tools.drill.programs import HttpTalk, RedisTalk
from neat.tools.drill.talk import EndlessTalk, PatternTalk, Talk

BULK_BYTES, BULK_OTHER = 1 << 16, 16  # of a transfer's chunk, and of what asks for it or confirms it
WINDOW = 32  # chunks under way in a transfer without a rate


@dataclass
class Plan:
    connections: int = 200
    rate: float = 2000.0  # requests a second in all
    request: int = 64  # bytes
    answer: int = 512
    bulk: int = 4  # transfers, half of them uploads
    bulk_rate: float = 0.0  # bytes a second of each; 0.0: as fast as it goes
    churn: float = 0.0  # short connections a second, one request each
    program: str = ""  # of the server: "nginx", "redis", "ssh"; "": the checking one
    command: Sequence[str] = ()  # that logs in and runs the checking server's `pipe`, for ssh
    hang_s: float = 10.0  # without progress, when something is owed
    most_s: float = 600.0
    records: str = ""  # file


@dataclass
class Kind:
    """What a place is for."""

    name: str
    size: int  # bytes of a request and its answer, nearly
    talk: Callable[[int], Talk]  # from a connection's number
    window: int = 0  # requests that are always under way; 0: those of a beat
    short: bool = False  # closed after an answer, and not opened again
    command: Sequence[str] = ()  # that has the connection; none: the load itself


class Beat:
    """Requests at a constant rate, from each of some places in turn."""

    def __init__(self, places: range, per_second: float, began: float) -> None:
        self.places = places
        self.per_second = per_second
        self.began = began
        self.count = 0

    def next(self) -> float:
        """When the next one is planned."""
        return self.began + self.count / self.per_second

    def due(self, now: float) -> Iterator[tuple[int, float]]:
        """Place and planned time of those whose time has come."""
        while (planned := self.next()) <= now:
            yield self.places[self.count % len(self.places)], planned
            self.count += 1


def kinds_of(plan: Plan, host: str) -> list[Kind]:
    """The kind of each place."""
    window = 0 if plan.bulk_rate else WINDOW
    match plan.program:
        case "nginx":
            few = window // (FILE_BYTES // BULK_BYTES)
            requests = Kind("requests", SMALL_BYTES, lambda n: HttpTalk(n, host, bulk=False))
            transfers = [Kind("download", FILE_BYTES, lambda n: HttpTalk(n, host, bulk=True), few)]
        case "redis":
            requests = Kind("requests", plan.answer, lambda n: RedisTalk(n, plan.answer))
            transfers = [Kind("transfer", BULK_BYTES, lambda n: RedisTalk(n, BULK_BYTES), window)]
        case _:
            requests = of_pattern("requests", plan.request, plan.answer)
            transfers = [
                of_pattern("download", BULK_OTHER, BULK_BYTES) if plan.bulk_rate else ENDLESS_DOWNLOAD,
                of_pattern("upload", BULK_BYTES, BULK_OTHER, window),
            ]
    if plan.command:
        requests = replace(requests, command=plan.command)
        transfers = [replace(kind, command=plan.command) for kind in transfers]
    return [requests] * plan.connections + [transfers[i % len(transfers)] for i in range(plan.bulk)]


def short_kind(requests: Kind) -> Kind:
    """Connections of one request."""
    return replace(requests, name="short", short=True)


def of_pattern(name: str, request: int, answer: int, window: int = 0) -> Kind:
    return Kind(name, request + answer, lambda number: PatternTalk(number, request, answer), window)


# Who waits for bytes and sends none is not told by a reset that its connection is gone.
ENDLESS_DOWNLOAD = Kind("download", BULK_BYTES, lambda n: EndlessTalk(n, BULK_OTHER, BULK_BYTES), WINDOW)
