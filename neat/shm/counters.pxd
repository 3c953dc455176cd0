"""Indexes of counters on the driver's board page. Those of a replica are in neat/stack/counters, those of
components in plain Python in counters.pyx.

To add one: append it before DRIVER_COUNTERS, with the prefix DRV_; its name for people is the rest in lower
case.
"""

cpdef enum DriverCounter:
    DRV_RX_FRAMES = 0               # from the device
    DRV_RX_BYTES
    DRV_TX_FRAMES                   # to the device
    DRV_TX_BYTES
    DRV_WAKEUPS                     # times that it slept and was woken
    DRV_DOORBELLS                   # doorbells of replicas that it rang
    DRV_STEER_FLOW                  # frames steered by the flow table ...
    DRV_STEER_INDIRECTION           # ... by hash and indirection table ...
    DRV_STEER_BROADCAST             # ... to every replica
    DRV_STEER_MISSED                # read into the ring of the wrong replica, and copied
    DRV_FLOWS_LEARNT
    DRV_FLOWS_DELETED
    DRV_FLOWS_EVICTED
    DRV_FLOW_TABLE_FULL             # a flow that could not be remembered
    DRV_RING_BROKEN                 # a replica broke the contract of its ring
    DRV_DROP_RUNT                   # frame too short to have an Ethernet header
    DRV_DROP_TRUNCATED              # frame larger than a record
    DRV_DROP_RING_FULL
    DRV_DROP_NO_REPLICA             # no slot accepts new connections
    DRV_DROP_SLOT_INACTIVE          # its replica is not there, or recovering
    DRV_DROP_BAD_RECORD             # a transmit record of unknown type or impossible length
    DRV_DROP_TAP_WRITE              # the device refused a frame
    DRV_DROP_MALFORMED              # headers cut off, or contradicting themselves
    DRV_DROP_NOT_IP                 # neither IP nor ARP
    DRV_DROP_NO_BUFFER              # the device had no room for a frame of a replica
    DRV_DROP_DEVICE_DOWN            # the device is down
    DRV_FLOW_FOREIGN                # a replica spoke for a flow of another one
    DRV_FLOWS_INVALID               # entries found in the flow table that no driver can have written
    DRV_FRAGMENTS_UNMATCHED         # later fragments whose first one is not known
    # broken rings emptied and taken up again, after their replica was replaced
    DRV_RINGS_MENDED
    DRV_LOOPED_FRAMES               # from one replica to another or itself: frames to the stack's own address
    DRV_LOOPED_BYTES
    DRV_DROP_QUARANTINE             # from a source whose packets killed
    DRV_FLOWS_LOST                  # whose peers are told: their replica has lost them
    DRV_WORK_NS                     # spent in turns that had something to do
    DRIVER_COUNTERS

# One block for each replica slot: index = DRIVER_REPLICAS + slot * DRIVER_REPLICA_STRIDE + a
# DriverReplicaCounter.
# "rx" is towards the replica.
cdef enum:
    DRIVER_REPLICAS = 128
    DRIVER_REPLICA_STRIDE = 8

cpdef enum DriverReplicaCounter:
    DRVREP_RX_FRAMES = 0
    DRVREP_RX_BYTES
    DRVREP_RX_DROPS
    DRVREP_TX_FRAMES
    DRVREP_TX_BYTES
    DRVREP_TX_DROPS
    DRVREP_FLOWS                    # a gauge: its entries in the flow table
    DRVREP_BROKEN                   # a gauge: 1 while one of its rings is broken
    DRIVER_REPLICA_COUNTERS
