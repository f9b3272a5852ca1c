"""Hipache, nginx and haproxy, each with the same routes and the same short timeouts or none."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conformance.hurting import CONNECTIONS

Sites = Mapping[str, Sequence[int]]
"""The ports of the backends, by host; `*` is every other host."""
SHORT = 2
"""Seconds without a byte of a backend, where timeouts are short."""

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server_names_hash_bucket_size 128;
  client_max_body_size 0; proxy_http_version 1.1;
  proxy_set_header Host $http_host; proxy_set_header Connection "";
  {timeouts}
  {sites}
}}
"""
NGINX_SITE = """
  upstream {name} {{ {servers} }}
  server {{
    listen 127.0.0.1:{port}{default}; server_name {host};
    location / {{ proxy_pass http://{name}; }}
  }}
"""
HAPROXY = """
defaults
  mode http
  timeout client 10s
  timeout server {seconds}s
  timeout connect 3s
frontend f
  bind 127.0.0.1:{port}
{uses}
{backends}
"""


def commands(folder: Path, port: int, sites: Sites, *, short: bool = False) -> dict[str, list[str]]:
    """How each is started; only those that are installed."""
    (folder / "nginx.conf").write_text(_nginx(folder, port, sites, short=short))
    (folder / "haproxy.cfg").write_text(_haproxy(port, sites, short=short))
    write_routes(folder / "routes.toml", sites)
    server = {
        "workers": 1,
        "accessLog": None,
        "snapshot": None,
        **(hurt_limits() if short else {}),
    }
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


def hurt_limits() -> dict[str, Any]:
    """Keys of `server`."""
    return {"responseTimeout": SHORT, "tcpTimeout": SHORT, "maxSockets": CONNECTIONS}


def write_routes(path: Path, sites: Sites) -> None:
    """A file store with these routes."""
    lines = []
    for host, ports in sites.items():
        urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports)
        lines.append(f'["{host}"]\nid = "{host}"\nbackends = [{urls}]\n')
    path.write_text("".join(lines))


def _nginx(folder: Path, port: int, sites: Sites, *, short: bool) -> str:
    return NGINX.format(
        folder=folder,
        timeouts=f"proxy_read_timeout {SHORT}s;" if short else "",
        sites="".join(
            NGINX_SITE.format(
                name=_name(host), port=port, host="_" if host == "*" else host,
                default=" default_server" if host == "*" else "",
                servers=" ".join(f"server 127.0.0.1:{each};" for each in ports),
            )
            for host, ports in sites.items()
        ),
    )  # fmt: skip


def _haproxy(port: int, sites: Sites, *, short: bool) -> str:
    uses = [
        f"  use_backend {_name(host)} if {{ hdr(host) -i {host} }}" for host in sites if host != "*"
    ]
    backends = [
        "\n".join([
            f"backend {_name(host)}",
            *(f"  server s{n} 127.0.0.1:{each}" for n, each in enumerate(ports)),
        ])
        for host, ports in sites.items()
    ]  # fmt: skip
    if "*" in sites:
        uses.append(f"  default_backend {_name('*')}")
    return HAPROXY.format(
        seconds=SHORT if short else 10, port=port, uses="\n".join(uses),
        backends="\n".join(backends),
    )  # fmt: skip


def _name(host: str) -> str:
    return "all" if host == "*" else host.replace(".", "_").replace("-", "_")


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
