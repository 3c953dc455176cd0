"""`neat bench`: the same server and the same client on NEaT and on Linux's own stack, in turns.

`servers` writes configurations, `sides` builds the two worlds, `processes` starts and ends what runs in them,
`load` runs a client, `cpu` and `syscalls` say what a request costs, `compare` takes turns; `http`, `bulk`,
`idle`, `churn` and `limit` are the experiments, `plot` and `tables` show them, `commands`
is the command line.
"""
