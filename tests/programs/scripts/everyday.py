"""What servers and clients on asyncio do every day, step by step, each with a line about how it went; on the
event loop of uvloop, which is node's. ADDRESS, and a folder with key.pem and cert.pem, are the arguments;
nothing that is printed may depend on the moment."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import sys
import time
from pathlib import Path

import uvloop

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
BYTES = hashlib.shake_256(b"neat").digest(1 << 20)


def say(*words: object) -> None:
    print(*words, flush=True)


async def pair() -> tuple:
    """A server, and reader and writer of both ends of a connection to it."""
    served: asyncio.Future = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *ends: served.set_result(ends), ADDRESS, 0)
    port = server.sockets[0].getsockname()[1]
    client = await asyncio.open_connection(ADDRESS, port)
    return server, await served, client


async def over(server, *writers) -> None:
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def echo(reader, writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def a_file_has_the_number_of_a_socket() -> None:
    for i in range(20):
        (FOLDER / "own").write_text(f"text {i}")
        server, (reader, writer), (_, client) = await pair()
        writer.write(b"of the socket")
        await writer.drain()
        client.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        text = (FOLDER / "own").read_text()
        with open(FOLDER / "own", "r+b", buffering=0) as file:
            written = file.write(b"more of it")
        try:
            end = await reader.read()
        except ConnectionResetError:
            end = b""
        say(text, written, (FOLDER / "own").read_text(), end)
        await over(server, writer)


async def tls() -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
    client_side = ssl.create_default_context(cafile=FOLDER / "cert.pem")
    client_side.check_hostname = False
    server = await asyncio.start_server(echo, ADDRESS, 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    for _ in range(3):
        reader, writer = await asyncio.open_connection(ADDRESS, port, ssl=client_side)
        writer.write(BYTES)
        say(writer.get_extra_info("ssl_object").version(), await reader.readexactly(len(BYTES)) == BYTES)
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def a_child_between_two_pipes() -> None:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    server, (reader, writer), (back, client) = await pair()
    client.write(BYTES)
    client.write_eof()
    data = await reader.read()
    out, _ = await child.communicate(data)
    writer.write(out)
    writer.write_eof()
    say(await back.read() == BYTES, child.returncode)
    await over(server, writer, client)


async def a_program_that_talks_to_the_socket() -> None:
    listener = socket.create_server((ADDRESS, 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    served, _ = await loop.sock_accept(listener)
    served.setblocking(True)
    command = "read line; echo heard $line"
    child = await asyncio.create_subprocess_exec("sh", "-c", command, stdin=served, stdout=served)
    served.close()
    writer.write(b"this\n")
    say((await reader.read()).decode().strip(), await child.wait())
    writer.close()
    listener.close()


async def a_reset() -> None:
    server, (reader, writer), (_, client) = await pair()
    linger = struct.pack("ii", 1, 0)
    client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.transport.abort()
    try:
        say(await reader.read())
    except OSError as error:
        say(type(error).__name__)
    await over(server, writer)


async def many_at_once() -> None:
    server = await asyncio.start_server(echo, ADDRESS, 0)
    port = server.sockets[0].getsockname()[1]

    async def one(i: int) -> bool:
        reader, writer = await asyncio.open_connection(ADDRESS, port)
        text = BYTES[i * 1000 : i * 3000 + 1]
        writer.write(text)
        writer.write_eof()
        got = await reader.read()
        writer.close()
        (FOLDER / f"part{i}").write_bytes(got)
        return (FOLDER / f"part{i}").read_bytes() == text

    say(sum(await asyncio.gather(*map(one, range(100)))))
    server.close()
    await server.wait_closed()


async def datagrams() -> None:
    loop = asyncio.get_running_loop()
    heard: asyncio.Future = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple) -> None:
            heard.set_result((data, addr[0]))

    receiver, _ = await loop.create_datagram_endpoint(Receiver, (ADDRESS, 0))
    to = receiver.get_extra_info("sockname")
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=to)
    sender.sendto(b"a datagram")
    say(*await heard)
    sender.close()
    receiver.close()


async def nothing_to_do() -> None:
    """Whoever waits in epoll for what nobody takes away is busy all the time."""
    for _ in range(50):
        began, used = time.monotonic(), time.process_time()
        await asyncio.sleep(0.1)
        if time.process_time() - used < (time.monotonic() - began) / 2:
            return say("rests")
    return say("is busy")


async def main() -> None:
    for step in (
        a_file_has_the_number_of_a_socket,
        tls,
        a_child_between_two_pipes,
        a_program_that_talks_to_the_socket,
        a_reset,
        many_at_once,
        datagrams,
        nothing_to_do,
    ):
        say("#", step.__name__)
        await step()


os.umask(0o077)
uvloop.run(main())
