"""A sender whose packets kill: `python -m tests.e2e.poison DEVICE MAC DEED`, in the stack's namespace. For
each port that it reads, a line each, one poisoned segment from there (neat/stack/poison.pxd)."""

import socket
import sys


def main() -> None:
    from scapy.all import IP, TCP, Ether

    device, mac, deed = sys.argv[1:]
    options = [(253, b"NEaT" + bytes([int(deed)]))]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        for line in sys.stdin:
            segment = TCP(sport=int(line), dport=80, flags="A", seq=1, ack=1, options=options)
            wire.send(bytes(Ether(dst=mac) / IP(src="10.77.0.1", dst="10.77.0.2") / segment))
            print("sent", flush=True)


if __name__ == "__main__":
    main()
