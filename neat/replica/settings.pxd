"""A stack's settings as the engine takes them."""

from libc.stdint cimport uint64_t
from neat.stack.engine cimport StackConfig

# `part`: of a multi-component replica (neat/parts.py); "": a whole one. ValueError when the secret is not 32
# bytes in hex.
cdef int fill_config(StackConfig* out, object config, int slot, str secret, str part) except -1
# Of the engine's part of the state segment, which comes first; the ledger follows.
cdef uint64_t engine_bytes(const StackConfig* settings) noexcept
