"""Rules that say which sockets of a program are the stack's. The first that matches wins.

| rule               | matches                                                                          |
|--------------------|----------------------------------------------------------------------------------|
| `CIDR=neat`        | peers: connect(), and datagrams from a socket that is not bound                  |
| `bind:CIDR=kernel` | local addresses: bind(), and listen() without one; `bind:0.0.0.0` is the wildcard |
| `default=kernel`   | peers that no other rule matches; without it they are the stack's                |

An address without a length is that address alone. The preload library reads the same rules, separated by
commas, from $NEAT_ROUTES; what it does where none matches is in neat/shim/preload/route.c.
"""

import ipaddress

TARGETS = ("neat", "kernel")
BIND = "bind:"
DEFAULT = "default"
MAX_RULES = 64  # as in route.c


class RouteError(ValueError):
    """Not a rule; the text says what is wrong with it."""


def check(rule: str) -> str:
    """The rule as the preload library wants it: networks written out, no spaces."""
    where, equals, target = (part.strip() for part in rule.rpartition("="))
    if not equals or not where:
        raise RouteError(f"{rule!r}: must be NETWORK=neat or NETWORK=kernel, like 10.0.0.0/8=neat")
    if target not in TARGETS:
        raise RouteError(f"{rule!r}: {target!r} must be neat or kernel")
    if where == DEFAULT:
        return f"{DEFAULT}={target}"
    prefix = BIND if where.startswith(BIND) else ""
    try:
        network = ipaddress.ip_network(where.removeprefix(BIND))
    except ValueError as error:
        raise RouteError(f"{rule!r}: {error}") from None
    if network.version == 6 and target == "neat" and not (prefix and network.prefixlen == 128):
        raise RouteError(f"{rule!r}: the stack speaks IPv4 only")
    return f"{prefix}{network}={target}"


def merge(*lists: list[str]) -> str:
    """$NEAT_ROUTES from checked rules, the first list going before the others. RouteError when there are
    too many."""
    merged = list(dict.fromkeys(rule for rules in lists for rule in rules))
    defaults = [rule for rule in merged if rule.startswith(DEFAULT)]
    merged = [rule for rule in merged if rule not in defaults[1:]]
    if len(merged) > MAX_RULES:
        raise RouteError(f"{len(merged)} rules: {MAX_RULES} are allowed")
    return ",".join(merged)
