"""Headers as they lie on the wire, and big-endian access. Fields named be16/be32 are in network byte
order."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

ctypedef uint16_t be16
ctypedef uint32_t be32

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t v)
    uint16_t ntohs(uint16_t v)
    uint32_t htonl(uint32_t v)
    uint32_t ntohl(uint32_t v)

cdef enum:
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_ARP = 0x0806
    ETHERTYPE_VLAN = 0x8100
    ETHERTYPE_IPV6 = 0x86DD
    PROTO_ICMP = 1
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_ICMPV6 = 58

cdef packed struct EthernetHeader:      # 14 bytes
    uint8_t destination[6]
    uint8_t source[6]
    be16 ethertype

cdef packed struct ArpPacket:           # 28 bytes, RFC 826 for Ethernet and IPv4
    be16 hardware
    be16 protocol
    uint8_t hardware_length
    uint8_t protocol_length
    be16 operation
    uint8_t sender_mac[6]
    uint8_t sender_ip[4]
    uint8_t target_mac[6]
    uint8_t target_ip[4]

cdef packed struct Ipv4Header:          # 20 bytes without options, RFC 791 §3.1
    uint8_t version_ihl
    uint8_t tos
    be16 total_length
    be16 identification
    be16 fragment                       # flags (3 bits) and offset (13 bits) in units of 8 bytes
    uint8_t ttl
    uint8_t protocol
    be16 checksum
    uint8_t source[4]
    uint8_t destination[4]

cdef enum:
    IPV4_DONT_FRAGMENT = 0x4000
    IPV4_MORE_FRAGMENTS = 0x2000
    IPV4_OFFSET_MASK = 0x1FFF

cdef packed struct IcmpHeader:          # 8 bytes, RFC 792
    uint8_t type
    uint8_t code
    be16 checksum
    be32 rest

cdef packed struct UdpHeader:           # 8 bytes, RFC 768
    be16 source_port
    be16 destination_port
    be16 length
    be16 checksum

cdef packed struct TcpHeader:           # 20 bytes without options, RFC 9293 §3.1
    be16 source_port
    be16 destination_port
    be32 sequence
    be32 acknowledgment
    uint8_t offset_reserved             # data offset in the upper four bits, in 32-bit words
    uint8_t flags
    be16 window
    be16 checksum
    be16 urgent

cdef enum:
    TCP_FIN = 0x01
    TCP_SYN = 0x02
    TCP_RST = 0x04
    TCP_PSH = 0x08
    TCP_ACK = 0x10
    TCP_URG = 0x20
    TCP_ECE = 0x40
    TCP_CWR = 0x80
    TCPOPT_END = 0
    TCPOPT_NOP = 1
    TCPOPT_MSS = 2
    TCPOPT_WSCALE = 3
    TCPOPT_SACK_PERMITTED = 4
    TCPOPT_SACK = 5
    TCPOPT_TIMESTAMP = 8
