"""How `hipache serve` starts on a table of a million frontends, and what its workers hold.

    python -m bench.questions.million_start [--frontends 1000000] [--certificates 100000]

A Redis of its own has first few frontends and certificates, then all of them. For each: seconds
from the start to the first answer over HTTP, and over HTTPS with a certificate of the store, and
the memory of a worker then and after some hosts were asked for. The exit status is 1 where either
answer comes LATER, or a worker is LARGER with all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import trustme

from bench.processes import CHECKOUT, ending_in_order, start, stop
from bench.procfs import cores
from bench.questions.million import certificates, frontends, write
from tests.ports import free_port
from tests.redis_servers import RedisServer

LATER = 1.0
"""Seconds."""
LARGER = 5.0
"""MiB."""
NAMES = 1000
"""Hosts that are asked for."""
WITHIN = 120.0


def ask(port: int, name: str, context: ssl.SSLContext | None) -> bool:
    """Whether a request comes back with an answer, over TLS with that name's certificate."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as link:
        if context is not None:
            link = context.wrap_socket(link, server_hostname=name)
        link.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        # The backend is nowhere: 502 is the answer of a worker that has found the frontend.
        return link.recv(100)[9:12] == b"502"
    return False


def first(began: float, port: int, context: ssl.SSLContext | None) -> float:
    """Seconds from `began` to the first answer."""
    while not ask(port, "www1.customer1.test", context):
        if time.monotonic() > began + WITHIN:
            raise TimeoutError(f"no answer on port {port}")
        time.sleep(0.005)
    return time.monotonic() - began


def measured(folder: Path, server: RedisServer, trusted: ssl.SSLContext) -> Sequence[float]:
    """Both times, and both sizes in MiB."""
    plain, secure = free_port(), free_port()
    values = {
        "server": {"workers": 1, "accessLog": None, "snapshot": None},
        "http": {"bind": "127.0.0.1", "port": plain},
        "https": {"bind": "127.0.0.1", "port": secure, "cert": "default.crt", "key": "default.key"},
        "driver": server.url, "user": None, "admin": {"bind": None}, "memory": {"limit": 0},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    began = time.monotonic()
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from app.cli import main; main()"
    process = start([sys.executable, "-c", code, "serve"], core=cores()[0], log=folder / "log")
    try:
        times = [first(began, plain, None), first(began, secure, trusted)]
        [worker] = [
            each
            for each in psutil.Process(process.pid).children(recursive=True)
            if f"pid={each.pid}" in (folder / "log").read_text()
        ]
        sizes = [worker.memory_info().rss / 2**20]
        for number in range(NAMES):
            ask(plain, f"www{number}.customer{number % 1000}.test", None)
        sizes.append(worker.memory_info().rss / 2**20)
    finally:
        stop(process)
    print(
        f"HTTP after {times[0]:.2f} s, HTTPS after {times[1]:.2f} s, a worker has {sizes[0]:.0f} "
        f"MiB, and {sizes[1]:.0f} MiB after {NAMES} hosts",
        flush=True,
    )
    return *times, *sizes


async def main(frontends_: int, certificates_: int) -> int:
    """The exit status."""
    trusted = ssl.create_default_context()
    trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory(prefix="hipache-million-") as name:
        folder = Path(name)
        issued = trustme.CA().issue_cert("default.test")
        issued.cert_chain_pems[0].write_to_path(folder / "default.crt")
        issued.private_key_pem.write_to_path(folder / "default.key")
        server = await RedisServer(folder).start()
        found = []
        try:
            for count, pairs in ((NAMES, 10), (frontends_, certificates_)):
                async with server.client as client:
                    await client.flushall()
                write(server.port, frontends(count))
                write(server.port, certificates(pairs))
                print(f"{count} frontends, {pairs} certificates: ", end="", flush=True)
                found.append(measured(folder, server, trusted))
        finally:
            server.kill()
    few, all_ = found
    slow = any(one + LATER < other for one, other in zip(few[:2], all_[:2], strict=True))
    return slow or any(one + LARGER < other for one, other in zip(few[2:], all_[2:], strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=1_000_000)
    parser.add_argument("--certificates", type=int, default=100_000)
    given = parser.parse_args()
    with ending_in_order():
        sys.exit(asyncio.run(main(given.frontends, given.certificates)))
