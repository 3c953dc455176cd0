"""Active opens: connect(), and SYN_SENT (RFC 9293 §3.10.1, §3.10.7.3)."""
cimport cython
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy, memset
from neat.abi.channel cimport NEAT_ST_CONNECTING, neat_addr
from neat.shm.ring cimport RECORD_FLOW_ADD
from neat.stack.channels cimport channel_of
from neat.stack.config cimport ConnectWishes
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport ConnSlot
from neat.stack.tcp.ack cimport establish
from neat.stack.tcp.connection cimport conn_birth, conn_free, conn_over, conn_set_state, conn_status, conn_take_sock, flow_record
from neat.stack.tcp.handshake cimport handshake_offer, handshake_settle
from neat.stack.tcp.isn cimport isn, isn_beyond
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.ports cimport port_choose, port_is_free
from neat.stack.tcp.respond cimport respond_rst
from neat.stack.tcp.rtt cimport INITIAL_RTO_US
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.text cimport check_fin, owe_ack, process_text
from neat.stack.tcp.timewait cimport wait_replace
from neat.stack.tcp.types cimport NO_INDEX, TF_KNOWN, TF_SEND_SYN, TW_BIT, Tcb
from neat.stack.types cimport Channel, Stack, count
from neat.wire.flow cimport FAMILY_IPV4, FlowKey
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_RST, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_le

# Index of the connection, or a negative errno.
@cython.locals(key=FlowKey, channel="Channel*", tcb="Tcb*", before=uint32_t, iss=uint32_t)
cdef int32_t connect_open(Stack* stack, uint32_t app, const neat_addr* local, const neat_addr* remote,
                          const ConnectWishes* wishes) noexcept nogil
# First ACK, second RST, fourth SYN. False: the connection is gone.
@cython.locals(slot="ConnSlot*", acceptable=cython.bint)
cdef bint synsent_input(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil
