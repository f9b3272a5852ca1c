"""What a folder of certificates costs: `python -m bench.questions.certificates` (needs trustme).

Start-up until the first handshake with one certificate and with 1,000 in
`https.certs`, and the worker's growth when each of them has been asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psutil
import trustme

from bench.processes import CHECKOUT
from bench.questions.tls import running, shake
from tests.ports import free_port

KB = 1024


def folder_of(count: int, folder: Path, authority: trustme.CA) -> list[str]:
    """Names with a certificate of their own each, in `folder`."""
    names = [f"site{number}.test" for number in range(count)]
    for name in names:
        issued = authority.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return names


@contextmanager
def serving(certs: Path, workdir: Path) -> Iterator[tuple[psutil.Process, int, float]]:
    """The supervisor, its https port, and when it was started."""
    plain, port = free_port(), free_port()
    https = {"bind": "127.0.0.1", "port": port, "certs": str(certs)}
    server = {"workers": 1, "accessLog": None, "snapshot": None}
    values = {"server": server, "https": https, "http": {"port": plain}, "user": None}
    (workdir / "routes.toml").write_text("")
    (workdir / "config.json").write_text(json.dumps(values | {"driver": "file:routes.toml"}))
    serve = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from app.cli import main; main()"
    core = max(os.sched_getaffinity(0))
    began = monotonic()
    with running([sys.executable, "-c", serve, "serve"], workdir, port, core) as process:
        yield process, port, began


def start(certs: Path, context: ssl.SSLContext, rounds: int) -> float:
    """Median seconds from the command to the end of a handshake."""
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name, serving(certs, Path(name)) as (_, port, began):
            shake(context, port, "site0.test")
            times.append(monotonic() - began)
    return statistics.median(times)


def memory(certs: Path, context: ssl.SSLContext, names: list[str]) -> tuple[float, float]:
    """KB per certificate while none and when all have been asked for."""
    with tempfile.TemporaryDirectory() as name, serving(certs, Path(name)) as (process, port, _):
        (worker,) = process.children()
        for _ in range(200):  # what the first handshakes cost is not the certificates' matter
            shake(context, port, names[0])
        before = worker.memory_info().rss
        for each in names:
            shake(context, port, each)
        loaded = worker.memory_info().rss
        for each in names:  # and once more: nothing is loaded twice
            shake(context, port, each)
        again = worker.memory_info().rss
    return (loaded - before) / len(names) / KB, (again - loaded) / len(names) / KB


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="certificates")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        folder_of(1, Path(few), authority)
        names = folder_of(options.count, Path(many), authority)
        one = start(Path(few), context, options.rounds)
        all_of_them = start(Path(many), context, options.rounds)
        each, more = memory(Path(many), context, names)
    print(
        f"first handshake after {one:.2f} s with one certificate, {all_of_them:.2f} s with "
        f"{options.count}; {each:.1f} KB for each that was asked for, {more:.1f} KB the second time"
    )
    sys.exit(all_of_them - one > 1.0 or each > 20)


if __name__ == "__main__":
    main()
