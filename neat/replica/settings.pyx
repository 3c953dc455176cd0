"""A stack's settings as the engine takes them."""

from neat import parts, ports
from neat.shm.segment import page_align

from libc.stdint cimport uint64_t
from libc.string cimport memset
from neat.replica.ledger cimport ledger_bytes
from neat.stack.engine cimport (
    OFFLOAD_CSUM, OFFLOAD_TSO4, PART_IP, PART_TRANSPORT, PART_WHOLE, StackConfig, stack_state_bytes,
)

PARTS = {"": PART_WHOLE, parts.IP: PART_IP, parts.TCP: PART_TRANSPORT, parts.UDP: PART_TRANSPORT}


cdef int fill_config(StackConfig* out, object config, int slot, str secret, str part) except -1:
    key = bytes.fromhex(secret)
    if len(key) != 32:
        raise ValueError(f"the secret has {len(key)} bytes instead of 32")
    memset(out, 0, sizeof(StackConfig))
    address, gateway, mac = (
        config.interface.ip.packed,
        bytes(map(int, config.gateway.split("."))),
        config.mac_bytes(),
    )
    for i in range(4):
        out.address[i] = address[i]
        out.gateway[i] = gateway[i]
    for i in range(6):
        out.mac[i] = mac[i]
    for i in range(32):
        out.secret[i] = key[i]
    out.prefix = config.interface.network.prefixlen
    out.mtu = config.mtu
    out.replica, out.replicas = slot, 0  # no ports before the syscall server says which
    out.port_low, out.port_high = ports.CONNECT.start, ports.CONNECT.stop - 1
    out.max_connections = config.max_connections
    out.max_listeners = config.max_listeners
    out.max_udp = config.max_udp
    out.offloads = OFFLOAD_CSUM | OFFLOAD_TSO4 if config.offload else 0
    out.time_wait_ms = config.time_wait_ms
    out.min_rto_ms = config.min_rto_ms
    out.max_rto_ms = config.max_rto_ms
    out.delayed_ack_ms = config.delayed_ack_ms
    out.syn_retries = config.syn_retries
    out.data_retries = config.data_retries
    out.poison = config.poison
    out.part = PARTS[part]
    if part == parts.IP:
        # It has neither connections nor sockets: what it keeps is the neighbours.
        out.max_connections, out.max_listeners, out.max_udp = 64, 1, 1
    return 0


cdef uint64_t engine_bytes(const StackConfig* settings) noexcept:
    return page_align(stack_state_bytes(settings))


def state_bytes(config):
    """Size of the state segment of a replica with these settings."""
    cdef StackConfig settings
    fill_config(&settings, config, 0, "00" * 32, "")
    return engine_bytes(&settings) + ledger_bytes(settings.max_connections)


def ip_state_bytes(config):
    """Likewise of an IP component."""
    cdef StackConfig settings
    fill_config(&settings, config, 0, "00" * 32, parts.IP)
    return engine_bytes(&settings)
