"""The proxy of a test: its application, its routes, its backends, and time that stands still."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import httpx
from starlette.applications import Starlette

from ..config.structs import Config, parse
from ..main import create_app
from .dict_routes import DictRoutes
from .loopback_backend import LoopbackBackend
from .mocked_transport import MockedTransport

_NOT_LOOPBACK = [
    str(network)
    for every, loopback in (("0.0.0.0/0", "127.0.0.0/8"), ("::/0", "::1/128"))
    for network in ip_network(every).address_exclude(ip_network(loopback))  # type: ignore[arg-type]
]


class StoppedClock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds


class FixedChance:
    """The chance of the balancer: always `value`, from 0 up to, not including, 1."""

    def __init__(self) -> None:
        self.value = 0.0

    def __call__(self) -> float:
        return self.value


def config_for_tests(values: Mapping[str, Any] | None = None) -> Config:
    """A configuration that writes no file, opens no port and connects to loopback only.

    `values` are as in `config.json`. Raises ConfigError.
    """
    quiet: dict[str, Any] = {
        "accessLog": None, "snapshot": None, "statusSocket": None, "flightRecorder": False,
    }  # fmt: skip
    file = {"user": None, "admin": {"bind": None}} | dict(values or {})
    server = quiet | file.get("server", {})
    server["denyBackends"] = [*_NOT_LOOPBACK, *server.get("denyBackends", ())]
    return parse(json.dumps(file | {"server": server}), source="the test's configuration")


class ServedProxy:
    """`app` serves `routes`; nothing but loopback is connected to.

    Marks end and trials begin by `clock`, and where the balancer would leave it to chance,
    `chooser` decides. Timeouts of connections are real time.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """`config` as in `config.json`. Raises ConfigError."""
        self.config = config_for_tests(config)
        self.routes = DictRoutes()
        self.clock = StoppedClock()
        self.chooser = FixedChance()
        self.app: Starlette = create_app(
            self.config, store=self.routes, transport=MockedTransport(self.config),
            clock=self.clock, random=self.chooser,
        )  # fmt: skip
        self._backends: list[LoopbackBackend] = []

    def backend(self, body: bytes | str = b"ok") -> LoopbackBackend:
        """A real backend, which ends with the proxy."""
        backend = LoopbackBackend(body)
        self._backends.append(backend)
        return backend

    def client(self, host: str = "testserver") -> httpx.AsyncClient:
        """An httpx client whose relative URLs are those of `host`, below http."""
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    def close(self) -> None:
        """End the backends. The proxy itself ends with its event loop."""
        for backend in self._backends:
            backend.close()
