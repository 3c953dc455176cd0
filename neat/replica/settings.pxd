"""A stack's settings as the engine takes them."""
from libc.stdint cimport uint64_t
from neat.stack.engine cimport OFFLOAD_CSUM, OFFLOAD_TSO4, StackConfig, stack_state_bytes

# ValueError when the secret is not 32 bytes in hex.
cdef int fill_config(StackConfig* out, object config, int slot, str secret) except -1
