"""Addresses: between Python's (host, port) and struct sockaddr_in. IPv4."""
import socket as _std

from libc.string cimport memset
from neat.shim.client cimport AF_INET, htons, inet_ntop, inet_pton, ntohs, sockaddr_in, socklen_t


cdef int parse_address(object address, sockaddr_in* out) except -1:
    """(host, port); a name is asked of the standard resolver; "" is the wildcard."""
    if not isinstance(address, tuple) or len(address) != 2:
        raise TypeError(f"AF_INET address must be tuple of two, not {type(address).__name__}")
    host, port = address
    if not isinstance(port, int):
        raise TypeError(f"an integer is required for the port, not {type(port).__name__}")
    if not 0 <= port <= 0xFFFF:
        raise OverflowError("port must be 0-65535.")
    memset(out, 0, sizeof(sockaddr_in))
    out.sin_family = AF_INET
    out.sin_port = htons(port)
    if isinstance(host, str):
        encoded = host.encode("idna") if not host.isascii() else host.encode()
    else:
        encoded = bytes(host)
    if encoded == b"":
        return 0
    if encoded == b"<broadcast>":
        out.sin_addr.s_addr = 0xFFFFFFFF
        return 0
    if inet_pton(AF_INET, encoded, &out.sin_addr) == 1:
        return 0
    found = _std.getaddrinfo(host, None, _std.AF_INET)
    inet_pton(AF_INET, found[0][4][0].encode(), &out.sin_addr)
    return 0


cdef object make_address(const sockaddr_in* address, socklen_t length):
    cdef char text[64]
    if length < sizeof(sockaddr_in):
        return None
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof(text))
    return (<bytes>text).decode(), ntohs(address.sin_port)
