"""What an idle keep-alive connection costs: `python -m bench.questions.idle_connections`.

Opens connections to one worker of `hipache serve`, sends so many requests with a browser's fields
on each, and prints the worker's growth in resident memory per connection.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
from typing import cast

import uvloop

from bench.questions.idle_sockets import hipache

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: idle.test\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Cookie: session=%016x; consent=yes\r\nConnection: keep-alive\r\n\r\n"
)


class Backend(asyncio.Protocol):
    """Answers each request with ANSWER. The proxy sends a head in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


def connect(port: int, count: int, requests: int) -> list[socket.socket]:
    """Connections that each have been answered so many requests."""
    connections = []
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        for _ in range(requests):
            connection.sendall(REQUEST % number)
            answer = b""
            while not answer.endswith(b"hello"):
                data = connection.recv(4096)
                if not data:
                    raise SystemExit(f"closed after {answer!r}")
                answer += data
        connections.append(connection)
    return connections


async def measure(count: int, requests: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Backend, "127.0.0.1", 0)
    with hipache(server.sockets[0].getsockname()[1], relay=False) as (port, worker):
        first = await asyncio.to_thread(connect, port, 50, 20)  # what is loaded once
        before = worker.memory_info().rss
        idle = await asyncio.to_thread(connect, port, count, requests)
        grown = worker.memory_info().rss - before
        print(f"{requests} requests each: {grown / count / 1024:.1f} KB for an idle connection")
        for connection in [*first, *idle]:
            connection.close()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=3000)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the proxy inherits it
    for requests in (1, 2, 3):
        uvloop.run(measure(options.connections, requests))


if __name__ == "__main__":
    main()
