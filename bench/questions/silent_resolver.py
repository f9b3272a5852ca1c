"""What a tenant whose names no name server answers for costs the others.

    python -m bench.questions.silent_resolver [REQUESTS]

One worker, a new connection to the backend for each request, half of the requests by
address and half by name. Quiet turns and turns with BAD requests in flight to names without
an answer follow each other. The goal: no request of the others fails, and their p99 stays
within twice the quiet one. The name server is ours, on 127.0.0.9, and resolv.conf is replaced
for the proxy alone: that needs root.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from bench.processes import in_process, serving
from tests.ports import free_port

NAME_SERVER = "127.0.0.9"
BAD, CLIENTS, TURNS = 100, 8, 6
PAUSE = 1.0
"""Seconds, on average, after which one of the bad asks again: what Retry-After tells it."""
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
# The resolver's defaults, so that a look-up takes 10 s until it fails.
RESOLV_CONF = f"nameserver {NAME_SERVER}\noptions timeout:5 attempts:2\n"
IN_A_WORLD_OF_ITS_OWN = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"'


def name_server(pipe: Connection) -> None:
    """Every name leads to 127.0.0.1, and those with `bad` in them get no answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((NAME_SERVER, 53))
        pipe.send("ready")
        while True:
            query, client = sock.recvfrom(2048)
            if b"\x03bad" not in query:
                sock.sendto(dns_answer(query), client)


def dns_answer(query: bytes) -> bytes:
    """127.0.0.1 for a question of type A, nothing for another (RFC 1035 §4.1)."""
    question = query[12 : query.index(b"\0", 12) + 5]
    is_a = question[-4:-2] == b"\0\x01"
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x7f\0\0\x01" if is_a else b""
    counts = b"\0\x01\0" + bytes([is_a]) + b"\0\0\0\0"
    return query[:2] + b"\x81\x80" + counts + question + record


def backend(port: int, pipe: Connection) -> None:
    """Says hello once per connection."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HELLO)
        writer.close()

    async def listen() -> None:
        server = await asyncio.start_server(hello, "127.0.0.1", port)
        pipe.send("ready")
        await server.serve_forever()

    uvloop.run(listen())


async def ask(port: int, host: str) -> tuple[int, float]:
    """The status of the answer, 0 for none, and the milliseconds that it took."""
    started = time.perf_counter()
    status = 0
    with suppress(OSError, EOFError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status = int((await reader.read())[9:12] or 0)
        writer.close()
    return status, (time.perf_counter() - started) * 1000


async def turn(port: int, requests: int, *, bad: int) -> list[tuple[int, float]]:
    """The others' answers while `bad` requests are in flight."""

    async def ask_in_vain() -> None:
        while True:
            await asyncio.sleep(random.uniform(0, 2 * PAUSE))  # else all would come at once
            await ask(port, "bad.test")

    async def ask_share(number: int) -> list[tuple[int, float]]:
        hosts = ("address.test", "name.test")
        return [await ask(port, hosts[n % 2]) for n in range(number, requests, CLIENTS)]

    vain = [asyncio.create_task(ask_in_vain()) for _ in range(bad)]
    await asyncio.sleep(2 * PAUSE if bad else 0)
    answers = await asyncio.gather(*(ask_share(n) for n in range(CLIENTS)))
    for task in vain:
        task.cancel()
    await asyncio.gather(*vain, return_exceptions=True)
    return [each for share in answers for each in share]


@contextmanager
def _proxy(folder: Path, backend_port: int) -> Iterator[int]:
    port = free_port()
    routes = {
        "address.test": {"backends": [f"http://127.0.0.1:{backend_port}"]},
        "name.test": {"backends": [f"http://www.good.test:{backend_port}"]},
        "bad.test": {"backends": [f"http://x{n}.bad.test:{backend_port}" for n in range(20)]},
    }
    config = {
        "server": {"workers": 1, "accessLog": None, "httpKeepAlive": False, "snapshot": None},
        "http": {"port": port}, "driver": "file:routes.json", "admin": {"bind": None},
        "user": None,
    }  # fmt: skip
    files = {"routes.json": json.dumps(routes), "config.json": json.dumps(config)}
    for name, text in (files | {"resolv.conf": RESOLV_CONF}).items():
        (folder / name).write_text(text)
    command = [
        "unshare", "--mount", "sh", "-c", IN_A_WORLD_OF_ITS_OWN, str(folder / "resolv.conf"),
        sys.executable, "-m", "app", "serve", "--config", str(folder / "config.json"),
    ]  # fmt: skip
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with serving(command, port, core=0, log=folder / "hipache.log", env=environment):
        yield port


async def measure(port: int, requests: int) -> dict[int, list[tuple[int, float]]]:
    """All answers, by the number of bad requests in flight."""
    found: dict[int, list[tuple[int, float]]] = {0: [], BAD: []}
    await turn(port, CLIENTS, bad=0)
    for n in range(TURNS):
        bad = (0, BAD)[n % 2]
        found[bad] += await turn(port, requests * 2 // TURNS, bad=bad)
    return found


def main() -> None:
    """Print the figures; exit status 1 if a request failed."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    if os.geteuid() or shutil.which("unshare") is None:
        raise SystemExit("silent_resolver: needs root, and unshare")
    folder = Path(tempfile.mkdtemp())
    port = free_port()
    with in_process(name_server), in_process(backend, port), _proxy(folder, port) as proxy:
        found = uvloop.run(measure(proxy, requests))
    shutil.rmtree(folder)
    for bad, answers in found.items():
        cuts = statistics.quantiles([took for _, took in answers], n=100)
        failed = sum(status != 200 for status, _ in answers)
        figures = f"p50 {cuts[49]:.2f} ms   p99 {cuts[98]:.2f} ms"
        print(f"{bad:3} in vain: {figures}   {failed} of {len(answers)} failed")
    raise SystemExit(any(status != 200 for each in found.values() for status, _ in each))


if __name__ == "__main__":
    main()
