"""Bodies larger than memory should be: how much a worker holds while they pass through it.

`python -m bench.questions.large_bodies [--mib 2048]` sends one download and one upload of
that size through `hipache serve` with one worker, and prints the resident memory
of its processes (supervisor, worker, Redis) before, at the peak (looked at every
20 ms), and after.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import procfs
from bench.compare.proxies import Hipache
from bench.compare.rig import Running, rig
from bench.compare.sites import HOSTS
from bench.processes import BenchError

MIB = 1 << 20
PIECE = bytes(MIB // 4)
PAGE = 4096


@contextmanager
def backend(size: int) -> Iterator[int]:
    """Answers GET with `size` bytes, and anything else, once it has read `size`, with none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=converse, args=(connection, size), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def converse(connection: socket.socket, size: int) -> None:
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        if head.startswith(b"GET"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            send(connection, size)
        else:
            received = len(head.partition(b"\r\n\r\n")[2])
            while received < size:
                received += len(connection.recv(MIB))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def send(connection: socket.socket, size: int) -> None:
    for _ in range(size // len(PIECE)):
        connection.sendall(PIECE)


def transfer(port: int, method: str, size: int) -> None:
    """One request through the proxy. Raises BenchError if the body does not arrive whole."""
    length = f"Content-Length: {size}\r\n" if method == "POST" else ""
    head = f"{method} / HTTP/1.1\r\nHost: {HOSTS[0]}\r\n{length}Connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head.encode())
        if method == "POST":
            send(client, size)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(65536)
        received = len(answer.partition(b"\r\n\r\n")[2])
        while piece := client.recv(MIB):
            received += len(piece)
    if not answer.startswith(b"HTTP/1.1 200 ") or received != (size if method == "GET" else 0):
        raise BenchError(f"{method}: {answer[:100]!r}, {received} bytes")


def resident(proxy: Running) -> float:
    """MiB of all processes of the proxy together, shared pages counted in each."""
    sizes = [
        int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        for pid in procfs.tree(proxy.processes)
    ]
    return sum(sizes) * PAGE / MIB


def watched(proxy: Running, method: str, size: int) -> float:
    """The peak of `resident` while one transfer runs."""
    over, peak = threading.Event(), [resident(proxy)]

    def look() -> None:
        while not over.wait(0.02):
            peak.append(resident(proxy))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        transfer(proxy.site.port, method, size)
    finally:
        over.set()
        looker.join()
    return max(peak)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.questions.large_bodies", description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="size of each body")
    parser.add_argument("--limit", type=float, default=30.0, help="MiB that a peak may add")
    options = parser.parse_args(argv)
    size = options.mib * MIB
    worst = 0.0
    with backend(size) as port:
        proxies = [Hipache(backends=[f"http://127.0.0.1:{port}"])]
        with rig(proxies, http_backend=False) as started:
            (proxy,) = started.running
            for method, name in (("GET", "download"), ("POST", "upload")):
                before = resident(proxy)
                peak = watched(proxy, method, size)
                after = resident(proxy)
                worst = max(worst, peak - before, after - before)
                print(
                    f"{name:9} {options.mib} MiB: resident {before:.1f} MiB before, "
                    f"{peak:.1f} at its peak, {after:.1f} after"
                )
    return int(worst > options.limit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
