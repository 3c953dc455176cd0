"""Cython's view of control.h; the C header is the truth."""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from neat.abi.channel cimport neat_addr

cdef extern from "abi/control.h" nogil:
    const uint32_t NEAT_MSG_MAGIC
    enum: NEAT_MSG_REPLY
    enum: NEAT_BIND_REUSEADDR, NEAT_BIND_REUSEPORT, NEAT_BIND_V6ONLY
    enum: NEAT_OP_HELLO, NEAT_OP_JOIN, NEAT_OP_SEGMENT, NEAT_OP_BIND, NEAT_OP_LISTEN, NEAT_OP_CONNECT, NEAT_OP_PREFER
    enum: NEAT_OP_POLLER, NEAT_OP_ADOPT, NEAT_OP_REFUSED, NEAT_OP_ADD_POLLER
    enum: NEAT_OP_ATTACH, NEAT_OP_ADD_LISTENER, NEAT_OP_ADD_UDP, NEAT_OP_CONNECT_VIA, NEAT_OP_APP_GONE, NEAT_OP_WELCOME
    enum: NEAT_OP_REPLICA_HELLO
    enum: NEAT_EV_ACCEPT, NEAT_EV_CONNECTING, NEAT_EV_FAILED, NEAT_EV_REPLICA

    struct neat_msg:
        uint32_t magic
        uint16_t op, flags
        uint32_t seq
        int32_t error
        uint32_t app
        uint32_t replica
        uint64_t incarnation
        uint64_t token
        uint32_t sock, generation
        uint32_t bind_id
        int32_t backlog
        uint32_t options
        uint32_t prefix
        neat_addr local, remote
        uint32_t u[12]
