"""Who holds what of the table: `python -m tests.conformance.compare` (make compare-conformance).

Every proxy gets the same bytes and the same strict backend. Hipache runs as
`hipache serve` does; nginx and haproxy with nothing configured but the route.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.backend import Observer, observing
from tests.conformance.case import run
from tests.conformance.forwarding import FORWARDING
from tests.conformance.framing import FRAMING
from tests.conformance.requests import REQUESTS

GROUPS = (*REQUESTS, *FRAMING, *FORWARDING)
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection "";
    }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 3s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server s 127.0.0.1:{backend}
"""
ROUTES = '["*"]\nid = "all"\nbackends = ["http://127.0.0.1:{backend}"]\n'


def commands(folder: Path, port: int, backend: int) -> dict[str, list[str]]:
    """How each is started; only those that are installed."""
    places = {"folder": folder, "port": port, "backend": backend}
    (folder / "nginx.conf").write_text(NGINX.format(**places))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(**places))
    (folder / "routes.toml").write_text(ROUTES.format(**places))
    server = {"workers": 1, "accessLog": None, "snapshot": None}
    values = {"server": server, "http": {"port": port}, "user": None, "admin": {"bind": None}}
    (folder / "config.json").write_text(
        json.dumps(values | {"driver": f"file:{folder}/routes.toml"})
    )
    table = {
        "hipache": [sys.executable, "-m", "app.cli", "serve", "--config", f"{folder}/config.json"],
        "nginx": ["nginx", "-c", f"{folder}/nginx.conf"],
        "haproxy": ["haproxy", "-db", "-q", "-f", f"{folder}/haproxy.cfg"],
    }
    return {name: command for name, command in table.items() if shutil.which(command[0])}


@contextmanager
def started(command: list[str], port: int) -> Iterator[None]:
    """A proxy that accepts connections."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(f"{command[0]} does not listen")
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def verdicts(name: str, observer: Observer) -> dict[str, str]:
    """Per case what did not hold, empty where all did."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = commands(Path(folder), port, observer.port)[name]
        with started(command, port):
            cases = [case for group in GROUPS for case in group()]
            return {case.name: run(case, ("127.0.0.1", port), observer.take) for case in cases}


def main() -> None:
    with observing() as observer, tempfile.TemporaryDirectory() as folder:
        names = list(commands(Path(folder), 0, 0))
        tables = {name: verdicts(name, observer) for name in names}
    for case in tables[names[0]]:
        wrong = {name: table[case] for name, table in tables.items() if table[case]}
        for name, verdict in wrong.items():
            print(f"{case}\n    {name}: {verdict[:120]}")
    print(f"\n{'':16}{'cases':>7}", *(f"{name:>9}" for name in names))
    groups = {group.__name__: [case.name for case in group()] for group in GROUPS}
    for group, cases in (groups | {"all": list(tables[names[0]])}).items():
        held = [sum(not table[case] for case in cases) for table in tables.values()]
        print(f"{group:16}{len(cases):>7}", *(f"{count:>9}" for count in held))


if __name__ == "__main__":
    main()
