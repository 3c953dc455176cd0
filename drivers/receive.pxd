"""From the device into the receive rings."""
from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint32_t
from neat.drivers.classify cimport ETHERNET_BYTES, Packet, classify_record
from neat.drivers.links cimport port_counter, ports_publish
from neat.drivers.state cimport Driver, Port, read_device
from neat.drivers.steer cimport STEER_ALL, slot_open, steer_arrival
from neat.shm.board cimport board_count
from neat.shm.counters cimport (
    DRV_DROP_RING_FULL, DRV_DROP_RUNT, DRV_DROP_SLOT_INACTIVE, DRV_DROP_TRUNCATED, DRV_RX_BYTES, DRV_RX_FRAMES, DRV_STEER_MISSED,
    DRVREP_RX_BYTES, DRVREP_RX_DROPS, DRVREP_RX_FRAMES,
)
from neat.shm.ring cimport BURST_BYTES, MAX_RECORD, RECORD_FRAME, ring_commit, ring_push, ring_reserve
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    RX_BURST = 64                   # frames, or BURST_BYTES

# A bounded burst, then wake the replicas that sleep. Returns how many frames there were.
cdef uint32_t receive_burst(Driver* driver) noexcept nogil

cdef uint32_t receive_frame(Driver* driver) noexcept nogil
cdef void deliver(Driver* driver, uint8_t* record, uint32_t length, int replica, bint in_place) noexcept nogil
cdef void deliver_to(Driver* driver, uint8_t* record, uint32_t length, uint32_t k, bint in_place) noexcept nogil
