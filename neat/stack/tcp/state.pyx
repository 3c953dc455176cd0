"""The states of a connection, for Python: `TcpState` is an enum, NAMES what `ss` prints."""

NAMES = {int(state): state.name.replace("_", "-") for state in TcpState}
