"""What the peer has selectively acknowledged (RFC 2018 §5), and what follows: what is lost, what is under
way, what to send again (RFC 6675 §3, §4).

Intervals of sequence numbers, ascending, apart from each other, in (SND.UNA, SND.MAX]. They are volatile: a
successor begins without, and may send some of it again. Between them are the holes; hole i ends where
interval i starts."""

from libc.stdint cimport uint32_t
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb

cdef enum:
    DUP_THRESHOLD = 3               # RFC 6675 §2, DupThresh

# Update(): note the blocks of an ACK. Whether some of it was news.
cdef bint scoreboard_note(Tcb* tcb, const Segment* seg) noexcept nogil
# SND.UNA has moved.
cdef void scoreboard_advance(Tcb* tcb) noexcept nogil
# IsLost (SND.UNA).
cdef bint scoreboard_head_is_lost(Tcb* tcb) noexcept nogil
# SetPipe(): bytes that are thought to be in the network.
cdef uint32_t scoreboard_pipe(Tcb* tcb) noexcept nogil
# NextSeg(), rules 1 (`lost`) and 3: the part beyond HighRxt of the first hole that has one. False: none.
cdef bint scoreboard_hole(Tcb* tcb, bint lost, uint32_t* start, uint32_t* end) noexcept nogil
# Bytes that are noted below this sequence number.
cdef uint32_t scoreboard_below(Tcb* tcb, uint32_t seq) noexcept nogil
# Move *seq to the first number from there on that is not noted. How many bytes follow before the next
# interval; UINT32_MAX: there is none.
cdef uint32_t scoreboard_skip(Tcb* tcb, uint32_t* seq) noexcept nogil
