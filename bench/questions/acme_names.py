"""What 10,000 certificates in the store cost: `python -m bench.questions.acme_names`.

With `https.acme` and without: seconds from the start to the first handshake with one certificate
in the store and with all of them, and what one worker grows by when each has been asked for, for
each of them. Then, with acme, what one of them costs the process that orders certificates. Each
name has a domain of its own, as those of customers have. Needs redis-server and trustme.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
import redis
import trustme

from bench.processes import serving
from bench.procfs import cores
from bench.questions.acme_handshake import NAME, NOWHERE, Service, knowing, service, trusting
from bench.questions.tls import shake
from tests.ports import free_port

AT_MOST = 22.0
"""KB of one worker for each certificate in use: OpenSSL takes 20 of them."""
LATER = 1.0
"""Seconds by which the start may be later with all of them than with one."""


def fill(store: int, authority: trustme.CA, count: int) -> list[str]:
    """Names with a certificate each."""
    names = [f"www.site{number}.test" for number in range(count)]
    with redis.Redis(port=store) as client, client.pipeline() as pipeline:
        for name in names:
            issued = authority.issue_cert(name)
            chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
            key = issued.private_key_pem.bytes()
            fields = {"certificate": chain, "key": key, "acme": NOWHERE}
            pipeline.hset(f"tls:{name}", mapping=fields)
            pipeline.rpush(f"frontend:{name}", "id", "http://127.0.0.1:1")
        pipeline.execute()
    return names


@dataclass(slots=True)
class Starting:
    """Starts services on one store, each in a folder of its own."""

    folder: Path
    store: int
    default: trustme.LeafCert
    count: int = 0

    def running(self, kind: str) -> AbstractContextManager[Service]:
        """`kind` is on or off."""
        self.count += 1
        return service(kind, self.folder / f"{kind}-{self.count}", self.store, self.default, ())

    def seconds(self, kind: str, rounds: int) -> float:
        """From the command to the end of a handshake, in the median."""
        times = []
        for _ in range(rounds):
            began = monotonic()
            with self.running(kind):
                times.append(monotonic() - began)
        return statistics.median(times)


def growth(worker: psutil.Process, port: int, names: list[str]) -> tuple[float, float]:
    """KB for each name when all have been asked for, and how much more the second time."""
    context, sizes = trusting(), []
    for name in [NAME] * 200:  # what the first handshakes cost is not the certificates' matter
        shake(context, port, name)
    sizes.append(worker.memory_info().rss)
    for _ in range(2):
        for name in names:
            shake(context, port, name)
        sizes.append(worker.memory_info().rss)
    before, first, second = (size / len(names) / 1024 for size in sizes)
    return first - before, second - first


def issuer_size(each: Service) -> float:
    """KB of the process that orders, once it has read everything."""
    log = (each.folder / "log").read_text()
    (pid,) = re.findall(r"certificates' process started.* pid=(\d+)", log)
    process, sizes = psutil.Process(int(pid)), [0]
    while len(sizes) < 3 or sizes[-1] != sizes[-3]:
        sleep(2)
        sizes.append(process.memory_info().rss)
    return sizes[-1] / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="certificates")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    authority, reached = trustme.CA(), True
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port = free_port()
        store = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        log = Path(folder) / "redis.log"
        stack.enter_context(serving(store, port, core=cores()[1], log=log))
        knowing(port, authority)
        starting = Starting(Path(folder), port, authority.issue_cert("default.test"))
        with starting.running("on") as alone:
            least = issuer_size(alone)
        one = {kind: starting.seconds(kind, options.rounds) for kind in ("off", "on")}
        names = fill(port, authority, options.count)
        for kind in ("off", "on"):
            many = starting.seconds(kind, options.rounds)
            with starting.running(kind) as running:
                if kind == "on":
                    orders = (issuer_size(running) - least) / len(names)
                first, more = growth(running.worker, running.port, names)
            print(
                f"acme {kind}: first handshake after {one[kind]:.2f} s with one certificate, "
                f"{many:.2f} s with {len(names)}; {first:.1f} KB of a worker for each in use, "
                f"{more:.1f} KB the second time", flush=True,
            )  # fmt: skip
            reached = reached and many - one[kind] < LATER and first + more < AT_MOST
    print(f"the process that orders: {least / 1024:.0f} MB, {orders:.2f} KB for each certificate")
    sys.exit(not reached)


if __name__ == "__main__":
    main()
