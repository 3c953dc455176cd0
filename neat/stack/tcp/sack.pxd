"""Selective acknowledgments that we send (RFC 2018), and reports of what came twice (RFC 2883).

They report what `neat/stack/tcp/reassembly.pxd` keeps, and nothing is taken back: the intervals stand in the
slot, so that a successor goes on with them. Which of them got text last, and what came twice, is volatile:
after a crash blocks come in another order, once."""

from neat.stack.tcp.segment cimport Outgoing
from neat.stack.tcp.types cimport Tcb

# Put the blocks of an ACK that leaves now into its header; what came twice is said once.
cdef void sack_fill(Tcb* tcb, Outgoing* out) noexcept nogil
