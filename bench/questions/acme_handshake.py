"""What `https.acme` costs a known name's handshake: `python -m bench.questions.acme_handshake`.

Two services, with `https.acme` and without, serve one name from `tls:<name>` of one Redis. They
are asked in turns for full handshakes without a request: CPU time of the one worker of each. With
`--instructions` both run below valgrind, which counts, and a busy machine does not disturb that.
Needs redis-server, trustme, and valgrind for instructions.
"""

from __future__ import annotations

import argparse
import json
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
import trustme

from bench.processes import CHECKOUT, NOTHING, serving
from bench.procfs import cores
from bench.questions.instructions import RUNNER
from bench.questions.tls import AT_ONCE, cpu, shake
from tests.ports import free_port

AT_MOST = 1.01
"""Times what a handshake costs without acme."""
NAME = "a.test"
NOWHERE = "https://127.0.0.1:1/directory"
"""A closed port of loopback: nothing has to be ordered here."""


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of it, running."""

    kind: str
    worker: psutil.Process
    port: int
    folder: Path


def knowing(store: int, authority: trustme.CA) -> None:
    """Write the certificate of NAME to the store, and a frontend."""
    issued = authority.issue_cert(NAME)
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    key = issued.private_key_pem.bytes()
    with redis.Redis(port=store) as client:
        client.hset(f"tls:{NAME}", mapping={"certificate": chain, "key": key, "acme": NOWHERE})
        client.rpush(f"frontend:{NAME}", "id", "http://127.0.0.1:1")


@contextmanager
def service(
    kind: str, folder: Path, store: int, default: trustme.LeafCert, runner: tuple[str, ...]
) -> Iterator[Service]:
    """With one worker; `kind` is on or off."""
    folder.mkdir()
    plain, port = free_port(), free_port()
    (folder / "default.crt").write_bytes(default.cert_chain_pems[0].bytes())
    (folder / "default.key").write_bytes(default.private_key_pem.bytes())
    https: dict[str, object] = {
        "bind": "127.0.0.1", "port": port, "cert": "default.crt", "key": "default.key"
    }  # fmt: skip
    if kind == "on":
        https["acme"] = {"agree": True, "directory": NOWHERE}
    server = {"workers": 1, "accessLog": None, "snapshot": None}
    values = {"server": server, "https": https, "http": {"bind": "127.0.0.1", "port": plain}}
    more = {"user": None, "admin": {"bind": None}, "driver": f"redis://127.0.0.1:{store}"}
    values["memory"] = {"limit": 0}
    (folder / "config.json").write_text(json.dumps(values | more))
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from app.cli import main; main()"
    argv = [*runner, sys.executable, "-c", code, "serve"]
    with serving(argv, port, core=cores()[0], log=folder / "log", env=NOTHING) as process:
        shake(trusting(), port, NAME)  # a worker is there
        pid = re.findall(r"worker ready.* pid=(\d+)", (folder / "log").read_text())
        family = psutil.Process(process.pid).children(recursive=True)
        yield Service(kind, next(each for each in family if str(each.pid) in pid), port, folder)


def trusting() -> ssl.SSLContext:
    """A client that trusts anybody: it is not what is measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def handshakes(port: int, count: int) -> None:
    """So many full ones, some at once."""
    context = trusting()
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for done in [clients.submit(shake, context, port, NAME) for _ in range(count)]:
            done.result()


def times(each: Service, count: int) -> float:
    """CPU µs for each handshake."""
    before = cpu(each.worker)
    handshakes(each.port, count)
    return (cpu(each.worker) - before) / count * 1e6


def instructions(each: Service, count: int) -> float:
    """For each handshake, in user space."""
    control(each, "--instr=on")
    handshakes(each.port, count)
    control(each, "--instr=off")
    control(each, "--dump")
    counts = [
        int(found)
        for path in each.folder.glob("instructions*")
        for found in re.findall(r"^(?:summary|totals): (\d+)$", path.read_text(), re.MULTILINE)
    ]
    return max(counts) / count


def control(each: Service, order: str) -> None:
    """Say it to the worker's valgrind."""
    argv = ["callgrind_control", order, str(each.worker.pid)]
    subprocess.run(argv, check=True, capture_output=True)


def measure(services: list[Service], count: int, rounds: int, *, counted: bool) -> float:
    """Print what both cost, and return the median ratio."""
    costs: list[list[float]] = []
    for each in services:
        handshakes(each.port, count)
    for _ in range(rounds):
        costs.append([(instructions if counted else times)(each, count) for each in services])
    off, on = (statistics.median(values) for values in zip(*costs, strict=True))
    ratio = statistics.median(b / a for a, b in costs)
    unit = "instructions" if counted else "CPU µs"
    print(f"{unit} for each handshake: without acme {off:,.0f}, with {on:,.0f}, ratio {ratio:.4f}")
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--instructions", action="store_true", help="count them, do not time")
    parser.add_argument("--handshakes", type=int, default=1000, help="in a round")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    runner = (
        (*RUNNER[:-1], f"{RUNNER[-1]}.%p", "--trace-children=yes") if options.instructions else ()
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        port = free_port()
        store = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        log = Path(name) / "redis.log"
        stack.enter_context(serving(store, port, core=cores()[1], log=log))
        authority = trustme.CA()
        knowing(port, authority)
        default = authority.issue_cert("default.test")
        services = [
            stack.enter_context(service(kind, Path(name) / kind, port, default, runner))
            for kind in ("off", "on")
        ]
        rounds = 1 if options.instructions else options.rounds
        ratio = measure(services, options.handshakes, rounds, counted=options.instructions)
    sys.exit(ratio > AT_MOST)


if __name__ == "__main__":
    main()
