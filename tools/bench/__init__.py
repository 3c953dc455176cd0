"""`neat bench`: the same server and the same client on NEaT and on Linux's own stack, in turns.

`servers` writes configurations, `sides` builds the two worlds, `processes` starts and ends what runs in them,
`load` runs a client, `cpu`, `switches` and `syscalls` say what a request costs, `thief` takes processors
away, `compare` takes turns; `http`, `bulk`, `table`, `idle`, `churn` and `limit` are the experiments, `model`
says what more cores would serve, `plot` and `tables` show them, `commands` is the command line.
"""
