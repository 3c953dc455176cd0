"""The narrow port between IP and what stands on it: what they hand each other (ARCHITECTURE.md, "The
engine").

In a whole replica each function here is a direct call; in one of several components what crosses it are
records on rings between processes (held.pxd, forward.pxd). So nothing but a Packet, a FlowKey or plain values
crosses it.

All take the Stack first, which is left out here; `stack.now` is the time of the call in progress.

ipv4.pxd (neighbour and icmp belong to it)
    int ipv4_create(); void ipv4_destroy()              at birth and end
    void ipv4_input(uint8_t* record, uint32_t length)   one record: parse Ethernet, ARP, IP; hand on a Packet
    int32_t ipv4_prepare(uint8_t* buffer, const uint8_t* destination, uint8_t protocol, uint32_t l4_length,
        uint8_t tos, uint8_t ttl)                       write a zeroed vnet header, Ethernet and IP headers
        (DF; ttl 0: the default). Returns the offset of the transport header in the record, or -EAGAIN
        (neighbour not resolved yet, a request is on its way), -EHOSTUNREACH, -ENETUNREACH
    void ipv4_error(Packet*, uint8_t type, uint8_t code)    queue an ICMP error about it, rate limited
neighbour.pxd
    uint32_t neighbour_poll(uint8_t* buffer)            a request to send, as a record; 0: none
    void neighbour_expire(); uint64_t neighbour_next_deadline()
icmp.pxd
    void icmp_input(Packet*)
udp.pxd
    int udp_create(); void udp_destroy(); void udp_input(Packet*)
    int udp_bind(uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags)
    int udp_unbind(uint32_t app, uint32_t sock)         both use channels.pxd to take and give back the sock
    void udp_command(Channel*, uint32_t sock, neat_sock*)   its dirty bit was set
    void udp_detach(Channel*)                           unbind all of a channel that goes; no access after
udp_output.pxd
    uint32_t udp_poll(uint8_t* buffer)
    void udp_neighbour_ready(const uint8_t* address, bint reachable)
tcp/input.pxd
    void tcp_input(Packet*)
tcp/icmp.pxd
    void tcp_icmp_error(const FlowKey*, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu)
tcp/output.pxd
    void tcp_neighbour_ready(const uint8_t* address, bint reachable)
                                                        neighbour calls it once resolved or given up
reply.pxd
    reply_reserve, reply_commit, reply_poll             frames that belong to no connection
events.pxd
    event_raise(&stack.events, EventNode*, kinds)       embedded nodes, merged kinds
channels.pxd
    channel_of(app), sock_birth, sock_death, sock_rx_ring, sock_tx_ring
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

# A received packet that is safe to parse: all offsets and lengths lie inside the record. Offsets count from
# the record's first byte (the virtio-net header). Addresses are those of the IP header. Valid only during the
# call.
cdef struct Packet:
    uint8_t* record                 # virtio-net header, Ethernet frame; not to be changed
    uint32_t length                 # of the record
    uint32_t ip                     # offset of the IP header
    uint32_t ip_length              # total length by the IP header, header included
    uint32_t l4                     # offset of the transport header
    uint32_t l4_length              # bytes from there to the end of the IP packet (padding excluded)
    uint8_t family                  # FAMILY_IPV4
    uint8_t protocol
    uint8_t tos                     # ECN in the low two bits
    uint8_t ttl
    # VNET_F_NEEDS_CSUM or VNET_F_DATA_VALID: the transport checksum need not be verified
    bint csum_ok
    bint broadcast                  # link or IP broadcast or multicast: draws neither RST nor ICMP error
    uint16_t gso_size               # MSS of a merged frame, 0 if it is not merged
    uint8_t source[16]              # IPv4 in the first four bytes, rest zero
    uint8_t destination[16]
    uint64_t now
