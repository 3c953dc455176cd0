"""The replica as Python sees it: made from mapped segments and descriptors, asked to run, told what the control messages say."""
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t

from neat.replica.channels cimport channel_attach, channel_find, channel_orphan
from neat.replica.counters cimport (
    COUNT_CHANNELS_REFUSED, COUNT_CONNECTS_FAILED, COUNT_DROP_CONTROL, REPLICA_COUNTERS_BASE,
)
from neat.replica.endpoints cimport endpoint_drop, endpoint_of, endpoint_open, tell_connecting, tell_failed
from neat.replica.loop cimport DESCRIPTOR_BURST, descriptors, run as turns
from neat.replica.posix cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLHUP, EPOLLIN, close, epoll_create1, monotonic_ns, watch,
)
from neat.replica.process cimport (
    END_CONNECTING, END_FREE, MAX_SHARED, MAX_UNBOUND, WATCH_BELL, WATCH_CTL, WATCH_LIFELINE, WATCH_SYS,
    Endpoint, Process, SharedEnd,
    tally, watch_data,
)
from neat.replica.pollers cimport poller_add
from neat.replica.settings cimport fill_config
from neat.replica.shared cimport listener_add, shared_find, udp_add
from neat.abi.channel cimport NEAT_MAX_SOCKS, NEAT_SOCK_UDP, NEAT_SPARES, NEAT_WAITERS_UNSEEN, neat_addr
from neat.shm.atomic cimport exchange32, load64, store64
from neat.shm.board cimport BoardPage
from neat.shm.doorbell cimport doorbell_ring
from neat.shm.ring cimport ring_attach_consumer, ring_attach_producer, ring_discard
from neat.stack.engine cimport (
    ConnectWishes, ConnInfo, Stack, StackConfig, stack_close, stack_conn_info, stack_connect, stack_create, stack_destroy, stack_sock,
    stack_use_counters,
)

cdef extern from "<errno.h>":
    const int EEXIST, EINVAL, ENOENT, ENOMEM

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* at, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* memory, size_t length)
    const int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_NORESERVE
    void* const MAP_FAILED

cdef class Core:
    cdef Process* p
    cdef readonly int max_connections
    cdef tuple held                 # what owns the memory that `p` points into

cdef int read_address(bytes packed, neat_addr* out) except -1
cdef tuple show_address(const neat_addr* addr)
