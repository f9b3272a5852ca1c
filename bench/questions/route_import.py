"""How long a store is held by `hipache route import`.

    python -m bench.questions.route_import [--hosts 100000] [--server redis-server]

A whole table is imported into an empty store, then changed, then removed. Meanwhile
another client asks for a sign of life every millisecond, and a third one has all changes
told, as a worker has. Told is the longest time that the store took to answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis

from bench.processes import CHECKOUT
from tests.redis_servers import VALKEY, RedisServer

HELD_AT_MOST = 0.05
"""Seconds."""
ALONE = 10.0
"""Seconds for which the store is asked before the first import."""


class Probe(threading.Thread):
    """Asks until `stop` is set; keeps how long the slowest answer took."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.longest = 0.0
        self._port = port

    def run(self) -> None:
        with redis.Redis(port=self._port) as client:
            while not self.stop.wait(0.001):
                asked = time.monotonic()
                client.ping()
                self.longest = max(self.longest, time.monotonic() - asked)


async def imported(folder: Path, server: RedisServer, hosts: int, backend: str) -> float:
    """Import so many hosts instead of those that are there; how long the store was held."""
    table = {
        f"host{number}.example.test": {
            "backends": [backend, f"http://10.0.0.1:{number % 9999 + 1}"]
        }
        for number in range(hosts)
    }
    (folder / "routes.json").write_text(json.dumps(table))
    (folder / "config.json").write_text(json.dumps({"driver": server.url}))
    command = "route", "import", "routes.json", "--replace", "-y", "--config", "config.json"
    probe = Probe(server.port)
    probe.start()
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *command, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    probe.stop.set()
    probe.join()
    assert process.returncode == 0, said.decode()
    print(said.decode().splitlines()[-1])
    took = time.monotonic() - began
    print(f"{took:.1f} s in all, the store was held for {1e3 * probe.longest:.1f} ms at most")
    return probe.longest


async def listening(server: RedisServer) -> None:
    """Have all changes told, and read them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX frontend: PREFIX options:\r\n")
    try:
        while await reader.read(1 << 16):
            pass
    finally:
        writer.close()


async def main(hosts: int, binary: str) -> int:
    """Exit status: 1 where the store was held for longer than HELD_AT_MOST."""
    with tempfile.TemporaryDirectory(prefix="hipache-import-") as name:
        folder = Path(name)
        server = await RedisServer(folder, binary=binary).start()
        listener = asyncio.create_task(listening(server))
        try:
            probe = Probe(server.port)
            probe.start()
            await asyncio.sleep(ALONE)
            probe.stop.set()
            probe.join()
            print(f"without an import it takes {1e3 * probe.longest:.1f} ms at most")
            held = [
                await imported(folder, server, hosts, "http://10.0.0.1:10001"),
                await imported(folder, server, hosts, "http://10.0.0.1:10002"),
                await imported(folder, server, 1, "http://10.0.0.1:10002"),
            ]
        finally:
            listener.cancel()
            server.kill()
    return max(held) > HELD_AT_MOST


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=100_000)
    parser.add_argument("--server", default=VALKEY, help="the program; default: the bundled Valkey")
    args = parser.parse_args()
    sys.exit(asyncio.run(main(args.hosts, args.server)))
