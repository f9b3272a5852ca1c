"""What TLS costs beside nginx, with the same key: `python -m bench.questions.tls --help`.

CPU time of the proxy for each full handshake (alone, and with one small
request), and for each MiB of a download, in turns, so that both have the same
machine. No session is resumed, and both send one session ticket for each
handshake (nginx's default is two). Needs nginx, and trustme for certificates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import trustme

from bench.processes import CHECKOUT, ending_in_order
from bench.procfs import cores
from tests.ports import free_port

MIB = 1 << 20
PER_HANDSHAKE, PER_MIB = 1.5, 2.0
"""How many times nginx's CPU we may cost."""
AT_ONCE = 16
"""Clients: with one alone, a proxy's idle ticks would count as part of its few handshakes."""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/a.crt; ssl_certificate_key {folder}/a.key;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_conf_command NumTickets 1;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


async def backend(port: int) -> None:
    """`/N` has N bytes."""
    block = bytes(MIB)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.split(b" ")[1][1:])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                for start in range(0, size, MIB):
                    writer.write(block[: min(MIB, size - start)])
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


def cpu(process: psutil.Process) -> float:
    """Seconds that it and its children have computed, to the nanosecond (proc-schedstat)."""
    family = [process, *process.children(recursive=True)]
    threads = [entry for each in family for entry in Path(f"/proc/{each.pid}/task").iterdir()]
    return sum(int((entry / "schedstat").read_text().split()[0]) for entry in threads) / 1e9


def shake(context: ssl.SSLContext, port: int, name: str = "a.test") -> None:
    """One connection, no request: the handshake and an orderly end."""
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname=name) as sock,
        suppress(OSError),  # some close without a goodbye
    ):
        sock.unwrap()


def fetch(context: ssl.SSLContext, port: int, size: int) -> None:
    """One connection, one request."""
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="a.test") as sock,
    ):
        sock.sendall(b"GET /%d HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" % size)
        left = size
        data = sock.recv(65536)
        left -= len(data.partition(b"\r\n\r\n")[2])
        while left > 0:
            data = sock.recv(262144)
            if not data:
                raise SystemExit(f"the answer of port {port} breaks off")
            left -= len(data)


@contextmanager
def running(argv: list[str], folder: Path, port: int, core: int) -> Iterator[psutil.Process]:
    with ending_in_order():
        with (folder / "log").open("a") as log:
            process = subprocess.Popen(argv, cwd=folder, stderr=log, stdout=log)
        try:
            os.sched_setaffinity(process.pid, {core})
            end = time.monotonic() + 30
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                if time.monotonic() > end:
                    raise SystemExit((folder / "log").read_text())
                time.sleep(0.05)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


@dataclass(frozen=True, slots=True)
class Pair:
    """nginx and Hipache with one key, each with one worker on one core."""

    context: ssl.SSLContext
    nginx: psutil.Process
    theirs: int
    hipache: psutil.Process
    ours: int

    def compare(
        self,
        unit: str,
        call: Callable[[ssl.SSLContext, int], None],
        rounds: int,
        *,
        calls: int,
        units: int,
    ) -> float:
        """Print CPU µs per unit of nginx and of Hipache, and the median ratio; returns that."""
        costs: list[list[float]] = []
        for _ in range(rounds):
            costs.append([])
            for process, port in ((self.nginx, self.theirs), (self.hipache, self.ours)):
                call(self.context, port)
                before = cpu(process)
                with ThreadPoolExecutor(AT_ONCE) as clients:
                    for done in [clients.submit(call, self.context, port) for _ in range(calls)]:
                        done.result()
                costs[-1].append((cpu(process) - before) / units * 1e6)
        theirs, ours = (statistics.median(values) for values in zip(*costs, strict=True))
        ratio = statistics.median(b / a for a, b in costs)
        print(
            f"CPU µs per {unit}: nginx {theirs:.0f}, hipache {ours:.0f}, ratio {ratio:.2f}",
            flush=True,
        )
        return ratio


@contextmanager
def both(key: trustme.KeyType, python: str) -> Iterator[Pair]:
    authority = trustme.CA()
    certificate = authority.issue_cert("a.test", key_type=key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    proxies, others = cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.crt").write_bytes(b"".join(b.bytes() for b in certificate.cert_chain_pems))
        (folder / "a.key").write_bytes(certificate.private_key_pem.bytes())
        plain, ours, theirs, behind = free_port(), free_port(), free_port(), free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=theirs, backend=behind))
        (folder / "routes.toml").write_text(
            f'["a.test"]\nid = "b"\nbackends = ["http://127.0.0.1:{behind}"]\n'
        )
        https = {"bind": "127.0.0.1", "port": ours, "cert": "a.crt", "key": "a.key"}
        server = {"workers": 1, "accessLog": None, "snapshot": None}
        config = {"server": server, "https": https, "http": {"port": plain}, "user": None}
        (folder / "config.json").write_text(json.dumps(config | {"driver": "file:routes.toml"}))
        asked = f"asyncio.run(backend({behind}))"
        back = f"import asyncio; from bench.questions.tls import backend; {asked}"
        serve = "from app.cli import main; main()"
        with (
            running(ours_first(sys.executable, back), folder, behind, others),
            running(["nginx", "-c", str(folder / "nginx.conf")], folder, theirs, proxies) as nginx,
            running([*ours_first(python, serve), "serve"], folder, ours, proxies) as hipache,
        ):
            os.sched_setaffinity(0, {others})
            yield Pair(context, nginx, theirs, hipache, ours)


def ours_first(python: str, code: str) -> list[str]:
    """How to run `code` on this checkout."""
    return [python, "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"]


def measure(python: str, handshakes: int, mebibytes: int, rounds: int) -> bool:
    """Whether the goals are reached."""
    ratios: list[float] = []
    for key in (trustme.KeyType.ECDSA, trustme.KeyType.RSA):
        with both(key, python) as pair:
            alone = pair.compare(
                f"handshake, {key.name}", shake, rounds, calls=handshakes, units=handshakes
            )
            pair.compare(
                f"handshake with its request, {key.name}",
                lambda context, port: fetch(context, port, 1),
                rounds,
                calls=handshakes,
                units=handshakes,
            )
            ratios.append(alone / PER_HANDSHAKE)
            if key is trustme.KeyType.ECDSA:
                bulk = pair.compare(
                    "MiB",
                    lambda context, port: fetch(context, port, mebibytes * MIB),
                    rounds,
                    calls=1,
                    units=mebibytes,
                )
                ratios.append(bulk / PER_MIB)
    return max(ratios) <= 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="the one that runs Hipache")
    parser.add_argument("--handshakes", type=int, default=1000, help="in a round")
    parser.add_argument("--mebibytes", type=int, default=64, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    reached = measure(options.python, options.handshakes, options.mebibytes, options.rounds)
    sys.exit(not reached)


if __name__ == "__main__":
    main()
