"""Instructions per small request: the figure that a busy machine does not disturb.

`python -m bench.questions.instructions` runs Hipache under a bare uvicorn (as it is, through
ASGI, and without Starlette) and uvicorn's own hello below valgrind, and counts what
each executes in user space per small GET. With `--body 10240` it is a POST with such a body,
and the hello is left out; with `--new-connections` each request has a connection of its own. The
kernel's share is missing, so this compares two versions of
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
from pathlib import Path

from bench.compare import needs
from bench.compare.proxies import Proxy
from bench.compare.rig import ANSWERS, Running, rig
from bench.compare.scenarios import BY_NAME
from bench.compare.sites import HOSTS
from bench.questions.asgi_overhead import BELOW_ASGI, ON_STARLETTE, RAW
from bench.questions.floor import UvicornHello

CLIENTS = 64
HOST = b"Host: %s\r\n" % HOSTS[0].encode()
GET = b"GET /small HTTP/1.1\r\n%b\r\n" % HOST
RUNNER = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=instructions")


def request_of(body: int, *, kept: bool) -> tuple[bytes, bytes]:
    """The request with `body` bytes, if any, and the end of its answer."""
    if not kept:
        return GET[:-2] + b"Connection: close\r\n\r\n", ANSWERS["/small"]
    if not body:
        return GET, ANSWERS["/small"]
    head = b"POST /upload HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, body)
    return head + bytes(body), ANSWERS["/upload"]


def connected(port: int) -> list[socket.socket]:
    """CLIENTS connections."""
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS)]


def ask(port: int, requests: int, body: int = 0, *, kept: bool = True) -> int:
    """At least `requests` requests, one at a time on each of CLIENTS connections; how many.

    Connections that are not `kept` are made anew for each.
    """
    request, end = request_of(body, kept=kept)
    clients = connected(port)
    rounds = -(-requests // CLIENTS)
    for turn in range(rounds):
        if turn and not kept:
            for client in clients:
                client.close()
            clients = connected(port)
        for client in clients:
            client.sendall(request)
        for client in clients:
            answer = b""
            while not answer.endswith(end):
                data = client.recv(65536)
                assert data, f"closed after {answer!r}"
                answer += data
    for client in clients:
        client.close()
    return rounds * CLIENTS


def instructions(proxy: Running, requests: int, body: int = 0, *, kept: bool = True) -> float:
    """Instructions per request, once the proxy has warmed up for as many."""
    total, answered, _ = counted(proxy, requests, body, kept=kept)
    return total / answered


def counted(
    proxy: Running, requests: int, body: int = 0, *, kept: bool = True
) -> tuple[int, int, str]:
    """Instructions, the requests that they are for, and callgrind's whole output."""
    process = proxy.processes[0]
    ask(proxy.site.port, requests, body, kept=kept)
    ordered(process, "--instr=on")
    answered = ask(proxy.site.port, requests, body, kept=kept)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line for each program."""
    options = argparse.ArgumentParser(
        prog="python -m bench.questions.instructions", description=__doc__
    )
    options.add_argument("--requests", type=int, default=3000)
    what = options.add_mutually_exclusive_group()
    what.add_argument("--body", type=int, default=0, help="bytes; 0 means a GET")
    what.add_argument("--new-connections", action="store_true", help="one for each request")
    given = options.parse_args(argv)
    hello: tuple[Proxy, ...] = () if given.body else (UvicornHello(),)
    proxies: tuple[Proxy, ...] = (BELOW_ASGI, ON_STARLETTE, RAW, *hello)
    needs.install({"nginx", "redis-server", "valgrind"})
    if gone := needs.missing({"nginx", "redis-server", "valgrind"}):
        print(f"needs {', '.join(sorted(gone))} on PATH", file=sys.stderr)
        return 2
    with rig(proxies, runner=RUNNER) as running:
        running.check(BY_NAME["small_get"])
        for proxy in running.running:
            count = instructions(proxy, given.requests, given.body, kept=not given.new_connections)
            print(f"{proxy.name:<16} {count:10,.0f} instructions per request")
    return 0


if __name__ == "__main__":
    sys.exit(main())
