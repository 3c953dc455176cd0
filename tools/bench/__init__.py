"""`neat bench`: the same server and the same client on NEaT and on Linux's own stack, in turns.

`sides` builds the two worlds, `load` runs a client, `cpu` says where the time went, `compare` takes turns;
`commands` is the command line.
"""
