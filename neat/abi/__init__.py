"""What crosses processes: the layout of a segment (channel.h) and the messages (control.h).

The headers are the one source. declare.py makes of them what Cython cimports (channel.pxd, control.pxd),
layout.pyx is what Python knows of them, messages.py the messages as dataclasses.
"""
