"""`neat drill`: a checked load on a stack whose components are killed by a schedule, and what came of it.

`run.py` goes through a drill. `server.py` is the server, `load.py` the load at the other end of the wire,
both processes of their own; what they say to each other, and how it is checked, is `talk.py`
(with programs `programs.py`, `ssh.py`). `faults.py`
kills, `report.py` counts, `tables.py` and `picture.py` show it.
"""
