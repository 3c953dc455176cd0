"""Addresses: between Python's (host, port) and struct sockaddr_in."""
from neat.shim.client cimport sockaddr_in, socklen_t

cdef int parse_address(object address, sockaddr_in* out) except -1
cdef object make_address(const sockaddr_in* address, socklen_t length)
