"""Active checks: the probe that a backend gets, and what its answers mean. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..grpc.health_calls import MAX_SERVICE
from ..routing import Backend, Frontend

if TYPE_CHECKING:
    from ..config.structs import HealthCheck

MAX_SEARCHED = 65_536
"""Bytes of an answer that the expected text is looked for in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The request that every backend of a frontend gets, and the answer that it must give."""

    method: bytes = b"GET"
    path: bytes = b"/"
    status: int = 0
    """The only good status; 0 takes every one below 500."""
    body: bytes = b""
    """A text that the answer must contain."""
    service: str | None = None
    """Backends with HTTP/2 are asked for this service of gRPC instead; "" is the whole server."""


def parse_probe(raw: Mapping[str, str], config: HealthCheck) -> tuple[Probe, tuple[str, ...]]:
    """The hash `healthcheck:<host>` over the configuration, and one sentence per mistake in it.

    The fields are planb's and tsuru's: `path`, `status` ("0" or empty: any), `body`; and `grpc`.
    """
    problems: list[str] = []
    path = raw.get("path") or config.path or "/"
    if not path.isascii() or not path.isprintable() or " " in path:
        problems.append(f"path {path!r} cannot be sent")
        path = config.path or "/"
    status = config.status
    if text := raw.get("status"):
        if text.isdecimal() and int(text) in (0, *range(100, 600)):
            status = int(text)
        else:
            problems.append(f"status {text!r} is no status")
    body = raw.get("body", config.body or "")
    service = raw.get("grpc")
    if service is not None and len(service.encode()) > MAX_SERVICE:
        problems.append(f"grpc has a name of more than {MAX_SERVICE} bytes")
        service = None
    probe = Probe(
        method=b"GET" if body else config.method.encode(),
        path=(path if path.startswith("/") else f"/{path}").encode(),
        status=status,
        body=body.encode(),
        service=service,
    )
    return probe, tuple(problems)


def problem_with(probe: Probe, status: int, body: bytes) -> str | None:
    """Why this answer is not the expected one; None if it is."""
    if probe.status:
        if status != probe.status:
            return f"status {status}, expected {probe.status}"
    elif status >= 500:
        return f"status {status}"
    if probe.body not in body:
        return f"the answer lacks {probe.body.decode()!r}"
    return None


class Target:
    """One backend of one frontend under check."""

    __slots__ = ("_fall", "_good", "backend", "bad", "busy", "frontend", "never_passed", "probe")

    def __init__(
        self, frontend: Frontend, backend: Backend, probe: Probe, *, rise: int, fall: int
    ) -> None:
        """`rise` good answers in a row make it healthy, `fall` bad ones unhealthy."""
        self.frontend = frontend
        self.backend = backend
        self.probe = probe
        self.busy = False
        """A check is running or waits for its turn."""
        self.bad = 0
        """Bad answers in a row."""
        self.never_passed = True
        """No good answer so far: what its last holder said of it still stands."""
        self._fall = fall
        self._good: deque[float] = deque(maxlen=rise)

    def passed(self, now: float) -> None:
        """A good answer to a probe sent at `now`."""
        self.bad = 0
        self.never_passed = False
        self._good.append(now)

    def failed(self) -> None:
        """Any other answer, or none."""
        self.bad += 1
        self._good.clear()

    @property
    def unhealthy(self) -> bool:
        """Enough bad answers in a row to be dead."""
        return self.bad >= self._fall

    def healthy_since(self, since: float) -> bool:
        """Enough good answers in a row, all after the Unix time `since`."""
        return len(self._good) == self._good.maxlen and self._good[0] > since
