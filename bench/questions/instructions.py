"""Instructions per small request: the figure that a busy machine does not disturb.

`python -m bench.questions.instructions` runs Hipache under a bare uvicorn (as it is, through
ASGI, and without Starlette) and uvicorn's own hello below valgrind, and counts what
each executes in user space per small GET. With `--body 10240` it is a POST with such a body,
with `--large` a GET of 1 MiB, and the hello is left out; with `--new-connections` each request has
a connection of its own. With `--http2 16x10` 16 connections of HTTP/2 ask, with 10 streams at a
time. The kernel's share is missing, so this compares two versions of
one program, not two proxies: the same code gives the same figure within two percent,
whatever else runs.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.compare import needs
from bench.compare.proxies import Proxy
from bench.compare.rig import ANSWERS, Running, rig
from bench.compare.scenarios import BY_NAME
from bench.compare.sites import HOSTS
from bench.questions.asgi_overhead import BELOW_ASGI, ON_STARLETTE, RAW
from bench.questions.floor import UvicornHello
from bench.questions.http2_asking import ask as ask_http2

CLIENTS = 64
HOST = b"Host: %s\r\n" % HOSTS[0].encode()
END = b"\r\n\r\n"
RUNNER = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=instructions")


def connected(port: int, connections: int) -> list[socket.socket]:
    """So many connections."""
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, and how."""

    path: str = "/small"
    body: int = 0
    """Bytes that each request brings; it is a POST then."""
    connections: int = CLIENTS
    streams: int = 0
    """Requests at a time on a connection of HTTP/2; 0 means HTTP/1.1."""
    kept: bool = True
    """Whether connections of HTTP/1.1 serve more than one request."""

    def request(self) -> bytes:
        method, more = b"GET", b"" if self.kept else b"Connection: close\r\n"
        if self.body:
            method, more = b"POST", more + b"Content-Length: %d\r\n" % self.body
        head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, self.path.encode(), HOST, more)
        return head + bytes(self.body)

    def ask(self, port: int, requests: int) -> int:
        """At least `requests` requests; how many."""
        if self.streams:
            return ask_http2(
                port, requests, self.connections, self.streams,
                path=self.path, size=len(ANSWERS[self.path]), body=self.body,
            )  # fmt: skip
        return ask(port, requests, self)


SMALL_GET = Load()


def ask(port: int, requests: int, load: Load) -> int:
    """At least `requests` requests, one at a time on each connection; how many."""
    request, size = load.request(), len(ANSWERS[load.path])
    clients = connected(port, load.connections)
    rounds = -(-requests // load.connections)
    for turn in range(rounds):
        if turn and not load.kept:
            for client in clients:
                client.close()
            clients = connected(port, load.connections)
        for client in clients:
            client.sendall(request)
        for client in clients:
            answer = bytearray()
            while len(answer) - answer.find(END) - len(END) < size or END not in answer[:4096]:
                data = client.recv(1 << 20)
                assert data, f"closed after {answer!r}"
                answer += data
    for client in clients:
        client.close()
    return rounds * load.connections


def instructions(proxy: Running, requests: int, load: Load = SMALL_GET) -> float:
    """Instructions per request, once the proxy has warmed up for as many."""
    total, answered, _ = counted(proxy, requests, load)
    return total / answered


def counted(proxy: Running, requests: int, load: Load = SMALL_GET) -> tuple[int, int, str]:
    """Instructions, the requests that they are for, and callgrind's whole output."""
    process = proxy.processes[0]
    load.ask(proxy.site.port, requests)
    ordered(process, "--instr=on")
    answered = load.ask(proxy.site.port, requests)
    ordered(process, "--instr=off", "--dump")
    total, output = count_of(proxy.site.folder)
    return total, answered, output


def count_of(folder: Path) -> tuple[int, str]:
    """Instructions that a process in `folder` has dumped, and callgrind's whole output."""
    outputs = [path.read_text() for path in folder.glob("instructions*")]
    counts = [
        (int(count), output)
        for output in outputs
        for count in re.findall(r"^(?:summary|totals): (\d+)$", output, re.MULTILINE)
    ]
    return max(counts)


def ordered(process: int, *orders: str) -> None:
    """Have callgrind carry out `orders`, one after the other."""
    for order in orders:
        subprocess.run(["callgrind_control", order, str(process)], check=True, capture_output=True)


def load_of(body: int, *, large: bool, http2: str, kept: bool = True) -> Load:
    """What the options ask for.

    >>> load_of(0, large=True, http2="16x10")
    Load(path='/large', body=0, connections=16, streams=10, kept=True)
    """
    path = "/upload" if body else "/large" if large else "/small"
    if not http2:
        return Load(path, body, kept=kept)
    connections, _, streams = http2.partition("x")
    return Load(path, body, int(connections), int(streams))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line for each program."""
    options = argparse.ArgumentParser(
        prog="python -m bench.questions.instructions", description=__doc__
    )
    options.add_argument("--requests", type=int, default=3000)
    what = options.add_mutually_exclusive_group()
    what.add_argument("--body", type=int, default=0, help="bytes; 0 means a GET")
    what.add_argument("--large", action="store_true", help="a GET of 1 MiB")
    what.add_argument("--new-connections", action="store_true", help="one for each request")
    options.add_argument("--http2", metavar="16x10", help="connections and streams of each")
    options.add_argument("--fast", action="store_true", help="only Hipache as it is")
    given = options.parse_args(argv)
    load = load_of(
        given.body, large=given.large, http2=given.http2 or "", kept=not given.new_connections
    )
    if given.http2 and given.new_connections:
        options.error("--http2 keeps its connections")
    proxies: tuple[Proxy, ...] = (BELOW_ASGI,)
    if not given.fast:
        proxies += (ON_STARLETTE, RAW) if load != SMALL_GET else (ON_STARLETTE, RAW, UvicornHello())
    needs.install({"nginx", "redis-server", "valgrind"})
    if gone := needs.missing({"nginx", "redis-server", "valgrind"}):
        print(f"needs {', '.join(sorted(gone))} on PATH", file=sys.stderr)
        return 2
    with rig(proxies, runner=RUNNER) as running:
        running.check(BY_NAME["small_get"])
        for proxy in running.running:
            count = instructions(proxy, given.requests, load)
            print(f"{proxy.name:<16} {count:10,.0f} instructions per request")
    return 0


if __name__ == "__main__":
    sys.exit(main())
