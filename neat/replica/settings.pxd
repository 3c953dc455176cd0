"""A stack's settings as the engine takes them."""

from neat.stack.engine cimport StackConfig

# ValueError when the secret is not 32 bytes in hex.
cdef int fill_config(StackConfig* out, object config, int slot, str secret) except -1
