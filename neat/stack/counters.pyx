"""What the engine counts. `Counter` is an enum for Python; NAMES are its members in lower case, in order."""

NAMES = tuple(Counter(i).name.lower() for i in range(Counter.COUNTER_COUNT))
GAUGES = frozenset({"tcp_connections", "tcp_time_waiting", "tcp_fin_waiting"})
