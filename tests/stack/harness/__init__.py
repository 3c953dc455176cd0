"""What tests of the engine are written with.

frames.py    frames, made and read by plain Python
notation.py  packetdrill's notation
host.py      an engine, a virtual clock, and the peer's machine around it
conn.py      one connection of it, talked to in scripts
"""
