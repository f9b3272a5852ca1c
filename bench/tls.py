"""What TLS costs beside nginx, with the same key: `python -m bench.tls`.

CPU time of the proxy for each full handshake (with one small request), and for
each MiB of a download, in turns, so that both have the same machine. Needs
nginx, and trustme for the certificate.
"""

from __future__ import annotations

import asyncio
import json
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
from pathlib import Path

import psutil
import trustme

from bench.processes import free_ports

ROOT = Path(__file__).parent.parent
MIB = 1 << 20
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
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off;
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
    """Seconds that it and its children have computed."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family)


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
def running(argv: list[str], folder: Path, port: int) -> Iterator[psutil.Process]:
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(argv, cwd=folder, stderr=log, stdout=log, env=None)
    try:
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


def main(handshakes: int = 1000, mebibytes: int = 64, rounds: int = 5) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("a.test")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.crt").write_bytes(b"".join(b.bytes() for b in certificate.cert_chain_pems))
        (folder / "a.key").write_bytes(certificate.private_key_pem.bytes())
        plain, ours, theirs, behind = free_ports(4)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=theirs, backend=behind))
        (folder / "routes.toml").write_text(
            f'["a.test"]\nid = "b"\nbackends = ["http://127.0.0.1:{behind}"]\n'
        )
        https = {"bind": "127.0.0.1", "port": ours, "cert": "a.crt", "key": "a.key"}
        server = {"workers": 1, "accessLog": None, "snapshot": None}
        config = {"server": server, "https": https, "http": {"port": plain}, "user": None}
        (folder / "config.json").write_text(json.dumps(config | {"driver": "file:routes.toml"}))
        serve = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from app.cli import main; main()"
        with (
            running([sys.executable, "-c", back(behind)], folder, behind),
            running(["nginx", "-c", str(folder / "nginx.conf")], folder, theirs) as nginx,
            running([sys.executable, "-c", serve, "serve"], folder, ours) as hipache,
        ):
            compare("handshake", handshakes, rounds, [
                (nginx, lambda: fetch(context, theirs, 1)),
                (hipache, lambda: fetch(context, ours, 1)),
            ])  # fmt: skip
            compare("MiB", mebibytes, rounds, [
                (nginx, lambda: fetch(context, theirs, mebibytes * MIB)),
                (hipache, lambda: fetch(context, ours, mebibytes * MIB)),
            ], calls=1)  # fmt: skip


def back(port: int) -> str:
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import asyncio; "
        f"from bench.tls import backend; asyncio.run(backend({port}))"
    )


def compare(
    unit: str,
    count: int,
    rounds: int,
    proxies: list[tuple[psutil.Process, Callable[[], None]]],
    calls: int | None = None,
) -> None:
    """Print CPU µs per unit of nginx and of Hipache, and the median ratio."""
    costs: list[list[float]] = []
    for _ in range(rounds):
        costs.append([])
        for process, call in proxies:
            call()
            before = cpu(process)
            with ThreadPoolExecutor(AT_ONCE) as clients:
                for done in [clients.submit(call) for _ in range(calls or count)]:
                    done.result()
            costs[-1].append((cpu(process) - before) / count * 1e6)
    theirs, ours = (statistics.median(values) for values in zip(*costs, strict=True))
    ratio = statistics.median(b / a for a, b in costs if a)
    print(f"CPU µs per {unit}: nginx {theirs:.0f}, hipache {ours:.0f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
