"""Names of all counters in a replica's board page: the engine's, then the process's own."""

from neat.stack.counters import GAUGES as STACK_GAUGES
from neat.stack.counters import NAMES

GAUGES = STACK_GAUGES | {"listeners", "udp_sockets", "channels", "descriptors", "cords", "spares"}
# Each counts frames or datagrams that were not used, for the reason that its name says.
DROPS = frozenset(
    [
        "rx_runt",
        "rx_not_for_us",
        "rx_unknown_ethertype",
        "rx_bad_vnet",
        "rx_unknown_record",
        "arp_bad",
        "ip_bad_header",
        "ip_bad_checksum",
        "ip_bad_address",
        "ip_fragment",
        "ip_unknown_protocol",
        "ip_no_route",
        "filter_in_dropped",
        "filter_in_rejected",
        "filter_out_dropped",
        "filter_out_rejected",
        "icmp_bad",
        "icmp_ignored",
        "udp_bad_length",
        "udp_bad_checksum",
        "udp_no_port",
        "udp_ring_full",
        "udp_not_peer",
        "udp_unsendable",
        "reply_queue_full",
        "flow_queue_full",
        "tcp_bad_header",
        "tcp_bad_checksum",
        "tcp_bad_address",
        "tcp_no_connection",
        "tcp_out_of_window",
        "tcp_paws",
        "tcp_inexact_rst",
        "tcp_syn_in_window",
        "tcp_bad_ack",
        "tcp_no_ack",
        "tcp_ooo_full",
        "tcp_beyond_window",
        "tcp_data_after_close",
        "tcp_data_after_fin",
        "tcp_backlog_full",
        "tcp_table_full",
        "tcp_no_sock",
        "queue_drop_truncated",
        "queue_drop_no_buffer",
        "queue_drop_device_down",
        "queue_drop_write",
        "queue_drop_link_full",
        "ip_bad_forward",
        "ip_unresolved",
        "up_ring_full",
    ]
)


def names():
    """Name -> index in the board page."""
    found = {name: index for index, name in enumerate(NAMES)}
    for i in range(REPLICA_COUNTERS):
        found[ReplicaCounter(i).name.removeprefix("COUNT_").lower()] = REPLICA_COUNTERS_BASE + i
    return found
