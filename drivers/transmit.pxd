"""From the transmit rings to the device, and what replicas say about their flows."""
from libc.errno cimport EAGAIN, EBADFD, EIO, ENOBUFS, ENOMEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.drivers.classify cimport ETHERNET_BYTES, Packet, classify_record
from neat.drivers.links cimport port_counter, port_wake, ports_publish
from neat.drivers.state cimport Driver, Port, write_device
from neat.drivers.steer cimport STEER_ALL, STEER_DROP, steer_add, steer_arrival, steer_delete, steer_departure, steer_fade
from neat.shm.board cimport board_count
from neat.shm.counters cimport (
    DRV_DROP_BAD_RECORD, DRV_DROP_DEVICE_DOWN, DRV_DROP_NO_BUFFER, DRV_DROP_NOT_IP, DRV_DROP_RING_FULL, DRV_DROP_SLOT_INACTIVE, DRV_DROP_TAP_WRITE,
    DRV_LOOPED_BYTES, DRV_LOOPED_FRAMES, DRV_TX_BYTES, DRV_TX_FRAMES, DRVREP_RX_BYTES, DRVREP_RX_DROPS, DRVREP_RX_FRAMES, DRVREP_TX_BYTES, DRVREP_TX_DROPS, DRVREP_TX_FRAMES, DriverCounter,
)
from neat.shm.ring cimport (
    BURST_BYTES, MAX_RECORD, RECORD_FLOW_ADD, RECORD_FLOW_DELETE, RECORD_FLOW_FADES, RECORD_FRAME, RECORD_OWN_FRAME, RecordHeader, record_payload,
    ring_advance, ring_peek, ring_push, ring_release,
)
from neat.wire.flow cimport FlowKey
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    TX_BURST = 32                   # records of each replica, or BURST_BYTES

# A bounded burst of each transmit ring. Returns how many records there were.
cdef uint32_t transmit_burst(Driver* driver) noexcept nogil

cdef uint32_t transmit_port(Driver* driver, uint32_t k) noexcept nogil
cdef void transmit_record(Driver* driver, uint32_t k, uint8_t* payload, uint32_t length, uint16_t type) noexcept nogil
cdef void transmit_frame(Driver* driver, uint32_t k, uint8_t* record, uint32_t length) noexcept nogil
cdef void loop_frame(Driver* driver, uint32_t k, uint8_t* record, uint32_t length) noexcept nogil
cdef void flow_record(Driver* driver, uint32_t k, uint8_t* payload, uint32_t length, uint16_t type) noexcept nogil
cdef void drop(Driver* driver, uint32_t k, uint32_t reason) noexcept nogil
