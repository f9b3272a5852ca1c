"""Is every request in the access log, once and whole? `python -m bench.questions.log_lines`

Several workers write one file under full load while it is rotated under them.
Every request has a number of its own, so that the lines can be held against
what the clients were answered and what the metrics count: none lost, none twice,
none torn.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import procfs
from bench.compare.needs import install
from bench.compare.sites import SMALL_BODY, fill_in
from bench.processes import CHECKOUT, serving
from tests.ports import free_port

FORMAT = '{client} [{time}] "{request}" {status} {bytes_out} {total_time} {worker} end'
LINE = re.compile(
    r'127\.0\.0\.1 \[[^]]{26}\] "GET /small\?(\d+) HTTP/1\.1" 200 (\d+) [0-9.]+ (\d+) end'
)
CLIENTS = 2
CONNECTIONS = 24
"""Of each client process."""


@contextmanager
def proxy(
    folder: Path, backend: int, admin: int, workers: int
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`hipache serve`, all workers ready, and its port."""
    (folder / "routes.toml").write_text(
        f'["a.test"]\nid = "bench"\nbackends = ["http://127.0.0.1:{backend}"]\n'
    )
    server = {
        "workers": workers, "accessLog": str(folder / "access.log"),
        "accessLogFormat": FORMAT, "snapshot": None,
    }  # fmt: skip
    values = {"server": server, "http": {"port": 0}, "driver": "file:routes.toml", "user": None}
    values["admin"] = {"bind": f"127.0.0.1:{admin}"}
    (folder / "config.json").write_text(json.dumps(values))
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    port = ready = 0
    for line in process.stderr:
        if found := re.search(r"listening address=127\.0\.0\.1:(\d+)", line):
            port = int(found[1])
        ready += "worker ready" in line
        if ready == workers:
            break
    threading.Thread(target=_tell, args=(process,), daemon=True).start()
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _tell(process: subprocess.Popen[str]) -> None:
    """Print warnings of the proxy, and empty its pipe so that it never blocks."""
    assert process.stderr is not None
    for line in process.stderr:
        if "level=info" not in line:
            print(line, end="", file=sys.stderr)


class Connection:
    """One keep-alive client connection in a closed loop."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.number = -1
        self._got = b""

    def ask(self, number: int) -> None:
        self.number = number
        self._got = b""
        self.sock.sendall(b"GET /small?%d HTTP/1.1\r\nHost: a.test\r\n\r\n" % number)

    def answered(self) -> bool:
        """Whether the answer is complete, after reading what is there."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the proxy closed a connection")
        self._got += data
        if not self._got.endswith(SMALL_BODY.encode()):
            return False
        if not self._got.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(self._got[:100].decode("latin-1"))
        return True


def ask(port: int, first: int, count: int) -> int:
    """Ask for the numbers from `first`; how many were answered with 200."""
    numbers, done = iter(range(first, first + count)), 0
    selector = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        connection = Connection(port)
        selector.register(connection.sock, selectors.EVENT_READ, connection)
        connection.ask(next(numbers))
    while done < count:
        for key, _ in selector.select():
            if key.data.answered():
                done += 1
                if (number := next(numbers, None)) is not None:
                    key.data.ask(number)
    return done


def in_metrics(admin: int) -> int:
    """Requests that the workers together have counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return int(sum(map(float, re.findall(r"(?m)^hipache_requests_total\{.*\} (\S+)", text))))


def rotate(
    folder: Path, process: subprocess.Popen[str], every: float, over: threading.Event
) -> int:
    """Rename the log now and then; every second time send the signal to reopen it."""
    count = 0
    while not over.wait(every):
        if (folder / "access.log").exists():
            count += 1
            (folder / "access.log").rename(folder / f"access.log.{count}")
            if count % 2:
                process.send_signal(signal.SIGUSR1)
    return count


def check(folder: Path, wanted: int) -> list[str]:
    """What is wrong with the lines of all files."""
    seen = bytearray(wanted)
    faults: list[str] = []
    workers: dict[str, int] = {}
    lines = 0
    for path in sorted(folder.glob("access.log*")):
        with path.open("rb") as file:
            for raw in file:
                lines += 1
                found = LINE.fullmatch(raw.decode("latin-1").removesuffix("\n"))
                if found is None or not raw.endswith(b"\n"):
                    faults.append(f"{path.name}: not a whole line: {raw[:200]!r}")
                    continue
                seen[int(found[1])] = min(255, seen[int(found[1])] + 1)
                workers[found[3]] = workers.get(found[3], 0) + 1
    missing, twice = seen.count(0), wanted - seen.count(0) - seen.count(1)
    shares = ", ".join(f"{n} by worker {w}" for w, n in sorted(workers.items()))
    files = len(list(folder.glob("access.log*")))
    print(f"{lines:,} lines in {files} files: {shares}")
    if missing or twice:
        faults.append(f"{missing} requests have no line, {twice} have more than one")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rotate", type=float, default=5.0, metavar="SECONDS")
    asked = parser.parse_args()
    install({"nginx"})
    with tempfile.TemporaryDirectory(prefix="hipache-bench-") as name:
        folder = Path(name)
        backend, inner, admin = free_port(), free_port(), free_port()
        (folder / "large").write_bytes(b"")
        config = fill_in("backend.conf", folder, BACKEND=backend, INNER=inner, SMALL=SMALL_BODY)
        command = ["nginx", "-c", str(config)]
        core = procfs.cores()[1]
        with (
            serving(command, backend, core=core, log=folder / "backend.log"),
            proxy(folder, backend, admin, asked.workers) as (process, port),
            ProcessPoolExecutor(CLIENTS) as clients,
        ):
            over, rotations = threading.Event(), []
            rotating = threading.Thread(
                target=lambda: rotations.append(rotate(folder, process, asked.rotate, over))
            )
            rotating.start()
            started = time.monotonic()
            share = asked.requests // CLIENTS
            shares = [clients.submit(ask, port, n * share, share) for n in range(CLIENTS)]
            answered = sum(each.result() for each in shares)
            seconds = time.monotonic() - started
            over.set()
            rotating.join()
            counted = in_metrics(admin)
        print(
            f"{answered:,} requests answered by {asked.workers} workers in {seconds:.0f} s "
            f"({answered / seconds:,.0f}/s), {rotations[0]} rotations"
        )
        faults = check(folder, share * CLIENTS)
        print(f"{counted:,} requests in hipache_requests_total")
        if counted != answered:
            faults.append(f"the metrics count {counted}, the clients {answered}")
    for fault in faults[:20]:
        print(fault)
    print("every line whole, none lost, none twice" if not faults else "NOT REACHED")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
