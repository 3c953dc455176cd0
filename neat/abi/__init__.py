"""What crosses processes: the layout of a segment (channel.h) and the messages (control.h).

The headers are the one source; channel.pxd and control.pxd are Cython's view of them, messages.py Python's.
"""
