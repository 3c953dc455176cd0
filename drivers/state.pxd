"""What the driver's parts share: the device, the links, the steering. Private memory; one Driver belongs to
one thread."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.drivers.steer cimport Steering
from neat.shm.board cimport BoardPage
from neat.shm.ring cimport MAX_RECORD, Ring
from neat.shm.steering cimport MAX_REPLICAS

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <sys/epoll.h>
    #include <time.h>
    #include <unistd.h>

    /* Both return -errno, never -EINTR. */
    static inline int32_t neat_read_device(int fd, uint8_t *buffer, uint32_t length) {
        ssize_t done;
        do done = read(fd, buffer, length); while (done < 0 && errno == EINTR);
        return done < 0 ? -errno : (int32_t)done;
    }
    static inline int32_t neat_write_device(int fd, const uint8_t *buffer, uint32_t length) {
        ssize_t done;
        do done = write(fd, buffer, length); while (done < 0 && errno == EINTR);
        return done < 0 ? -errno : (int32_t)done;
    }
    static inline uint64_t neat_monotonic(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    """
    int read_device "neat_read_device"(int fd, uint8_t* buffer, uint32_t length) noexcept
    int write_device "neat_write_device"(int fd, const uint8_t* buffer, uint32_t length) noexcept
    uint64_t monotonic "neat_monotonic"() noexcept

cdef struct Port:                   # the driver's ends of link k
    Ring rx                         # we produce
    Ring tx                         # we consume
    int bell                        # the replica's eventfd
    uint32_t epoch                  # of its slot, as last seen
    bint attached                   # there is a link for this slot
    bint broken                     # one of its rings is; counted

cdef struct Driver:
    int tap
    uint8_t mac[6]                  # the stack's own: frames to it go back in
    int failure                     # errno that ends the driver: the device is gone
    bint tap_ready                  # there may be something to read
    uint32_t ports                  # slots 0 .. ports-1
    uint32_t guess                  # the replica that got the previous frame
    uint32_t first                  # whose transmit ring comes first this turn
    uint32_t touched                # bit k: records in receive ring k that are not published
    uint32_t version                # of the steering segment, as last seen
    uint64_t now                    # CLOCK_MONOTONIC ns of this turn
    BoardPage* page
    Port port[MAX_REPLICAS]
    Steering steering
    uint8_t scratch[MAX_RECORD]
