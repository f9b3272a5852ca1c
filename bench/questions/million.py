"""What a table of a million frontends costs those who work on it.

    python -m bench.questions.million [--frontends 1000000] [--certificates 100000]
        [--server redis-server] [--only "list a page,doctor"]

Fills a Redis of its own and runs each command of `hipache` on it, as a person would. Told are
the time, the most memory that the command had at once, the longest command in the store, and the
longest time for which the store answered nobody. The exit status is 1 where an aim is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import redis
import trustme

from bench.processes import CHECKOUT, ending_in_order
from bench.questions.route_import import Probe
from tests.redis_servers import VALKEY, RedisServer

MIB = 1 << 20
AT_ONCE = 2_000
"""Commands that are sent to the store before its answers are read."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A command, and what it may take; None for whatever it takes."""

    name: str
    words: tuple[str, ...]
    cpu: float | None = None
    """Seconds of CPU time beyond those of `hipache version`: others may use the machine, too."""
    memory: float | None = None
    """MiB."""
    empty: bool = False
    """The store is emptied first."""


AIMS = (
    Aim("list a page", ("route", "list", "--limit", "50"), cpu=1.0),
    Aim("list by an end", ("route", "list", "*.customer7.test", "--limit", "50"), cpu=1.0),
    Aim("list", ("route", "list"), memory=100),
    Aim("list as JSON", ("route", "list", "--json"), memory=100),
    Aim("export", ("route", "export", "table.json"), memory=100),
    Aim("doctor on a sample", ("doctor", "--sample", "10000"), cpu=60.0, memory=100),
    Aim("doctor", ("doctor",), memory=100),
    Aim("import the same", ("route", "import", "table.json", "-y"), memory=100),
    Aim("import all", ("route", "import", "table.json", "-y"), memory=100, empty=True),
)


def frontends(count: int) -> Iterator[tuple[bytes, ...]]:
    """The commands that write them: one in ten has options, one in a hundred is a wildcard."""
    for number in range(count):
        name = f"www{number}.customer{number % 1000}.test"
        if number % 100 == 0:
            name = f"*.{name}"
        urls = (
            f"http://127.0.0.1:{number % 50_000 + 1024}",
            f"http://127.0.0.2:{8000 + number % 9}",
        )
        yield (b"RPUSH", f"frontend:{name}".encode(), name.encode(), *map(str.encode, urls))
        if number % 10 == 0:
            yield b"HSET", f"options:{name}".encode(), b"policy", b"round_robin"


def certificates(count: int) -> Iterator[tuple[bytes, ...]]:
    """The commands that write them: all are the same one, under a name each."""
    issued = trustme.CA().issue_cert("*.customer.test")
    pem = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    for number in range(count):
        name = f"tls:www{number}.customer{number % 1000}.test".encode()
        yield b"HSET", name, b"certificate", pem[0], b"key", pem[1]


def write(port: int, commands: Iterable[tuple[bytes, ...]]) -> None:
    """Send these commands; each answers with a number."""
    rest = iter(commands)
    with socket.create_connection(("127.0.0.1", port)) as link, link.makefile("rb") as answers:
        while some := list(islice(rest, AT_ONCE)):
            link.sendall(b"".join(map(_as_resp, some)))
            for _ in some:
                answer = answers.readline()
                assert answer.startswith(b":"), answer


def _as_resp(words: tuple[bytes, ...]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


@dataclass(frozen=True, slots=True)
class Took:
    """What one command took."""

    aim: Aim
    status: int
    seconds: float
    cpu: float
    """Seconds, without those of the start."""
    memory: float
    """MiB, at most at one time."""
    longest: float
    """Milliseconds of the longest command in the store."""
    held: float
    """Milliseconds for which the store answered nobody, at most."""

    @property
    def missed(self) -> bool:
        """Whether an aim was missed, or the command failed."""
        aim = self.aim
        slow = aim.cpu is not None and self.cpu > aim.cpu
        large = aim.memory is not None and self.memory > aim.memory
        return slow or large or self.status > 1

    def told(self) -> str:
        """One line."""
        return (
            f"{self.aim.name}: {self.seconds:.1f} s, {self.cpu:.1f} s of CPU, "
            f"{self.memory:.0f} MiB; in the store {self.longest:.1f} ms, held {self.held:.0f} ms"
            + " MISSED"
            * self.missed
        )


def run(folder: Path, aim: Aim, server: RedisServer, start: float = 0.0) -> Took:
    """Run the command in that folder; `start`: seconds of CPU time that every command takes."""
    probe = Probe(server.port)
    with redis.Redis(port=server.port, decode_responses=True) as client:
        client.config_set("slowlog-log-slower-than", 100)
        client.slowlog_reset()
        probe.start()
        began = time.monotonic()
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", *aim.words], cwd=folder, stdout=output,
                stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        probe.stop.set()
        probe.join()
        slow: list[dict[str, Any]] = client.slowlog_get(1000)
    longest = max((each["duration"] / 1e3 for each in slow), default=0.0)
    return Took(
        aim, process.returncode, seconds, usage.ru_utime + usage.ru_stime - start,
        usage.ru_maxrss / 1024, longest, 1e3 * probe.longest,
    )  # fmt: skip


async def main(frontends_: int, certificates_: int, binary: str, only: str) -> int:
    """The exit status."""
    chosen = [aim for aim in AIMS if not only or aim.name in only.split(",")]
    with tempfile.TemporaryDirectory(prefix="hipache-million-") as name:
        folder = Path(name)
        server = await RedisServer(folder, binary=binary).start()
        (folder / "config.json").write_text(json.dumps({"driver": server.url}))
        try:
            write(server.port, frontends(frontends_))
            write(server.port, certificates(certificates_))
            start = run(folder, Aim("version", ("version",)), server).cpu
            found = [_one(folder, aim, server, start) for aim in chosen]
        finally:
            server.kill()
    return any(took.missed for took in found)


def _one(folder: Path, aim: Aim, server: RedisServer, start: float) -> Took:
    if aim.empty:
        with redis.Redis(port=server.port) as client:
            client.flushall()
    took = run(folder, aim, server, start)
    print(took.told(), flush=True)
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontends", type=int, default=1_000_000)
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--server", default=VALKEY, help="the program; default: the bundled Valkey")
    parser.add_argument("--only", default="", help="names of commands, with commas")
    given = parser.parse_args()
    with ending_in_order():
        sys.exit(asyncio.run(main(given.frontends, given.certificates, given.server, given.only)))
