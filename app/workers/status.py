"""What a running service says about itself, over a unix socket that only its user may open."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..server.listeners import ListenAddress, close_all
from .sockets import ServiceSockets

logger = logging.getLogger("hipache.status")

ANSWER_TIMEOUT = 0.5
"""Seconds within which a client must read the answer."""

ServiceReport = Mapping[str, Any]


class StatusSocket:
    """Answers every connection with one JSON object, and closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def open(cls, path: str, sockets: ServiceSockets) -> StatusSocket | None:
        """None, after a warning, where that is not possible: it is no reason not to serve."""
        try:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            sock = sockets.bind(ListenAddress(os.path.abspath(path)), "status ", mode=0o600)
        except OSError as exc:
            logger.warning("no status socket path=%s cause=%s", path, exc.strerror or exc)
            return None
        except ConfigError as exc:
            logger.warning("no status socket path=%s cause=%s", path, exc)
            return None
        sock.setblocking(False)
        return cls(sock)

    def answer(self, report: ServiceReport) -> None:
        """Send the report to the client that has connected."""
        with contextlib.suppress(OSError):  # gone again, or it does not read
            peer, _ = self.sock.accept()
            with peer:
                peer.settimeout(ANSWER_TIMEOUT)
                peer.sendall(json.dumps(report).encode())

    def close(self) -> None:
        """Answer no more, and leave no file."""
        close_all([self.sock])


def ask(path: str) -> ServiceReport:
    """What the service says whose socket is at `path`. Raises ConfigError if there is none."""
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5.0)
        try:
            sock.connect(path)
            while data := sock.recv(65536):
                answer += data
        except OSError as exc:
            raise ConfigError(f"{path}: {_why_silent(exc)}") from None
    report: ServiceReport = json.loads(answer)
    return report


def _why_silent(error: OSError) -> str:
    """For people.

    >>> _why_silent(PermissionError(13, "Permission denied"))
    'Permission denied: ask as the user who runs the service, or as root'
    """
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "no service runs there"
    if isinstance(error, PermissionError):
        return f"{error.strerror}: ask as the user who runs the service, or as root"
    return error.strerror or str(error)


def as_table(report: ServiceReport) -> str:
    """For people.

    >>> print(as_table({"pid": 7, "state": "serving", "workers": []}))
    serving pid=7 workers=0
    """
    workers = report["workers"]
    lines = [f"{report['state']} pid={report['pid']} workers={len(workers)}"]
    if workers:
        lines.append(
            "worker      pid  state      age      memory  requests  in flight  connections"
        )
    for each in workers:
        lines.append(
            f"{each['worker']:>6} {each['pid']:>8}  {each['state']:<9}"
            f"{_age(each['age']):>5} {each.get('rss', 0) / (1 << 20):>7.0f} MB"
            f"{each.get('requests', 0):>10}{each.get('in_flight', 0):>11}"
            f"{each.get('connections', 0):>13}"
        )
    if issuer := report.get("certificates"):
        memory = f"{issuer.get('rss', 0) / (1 << 20):.0f} MB"
        age = _age(issuer["age"])
        lines.append(
            f"certificates' process pid={issuer['pid']} {issuer['state']} age={age} memory={memory}"
        )
    return "\n".join(lines)


def _age(seconds: float) -> str:
    """
    >>> [_age(5), _age(300), _age(90_000), _age(900_000)]
    ['5s', '5m', '25h', '10d']
    """
    for size, unit in ((2 * 86_400 * 2, "d"), (2 * 3600, "h"), (120, "m")):
        if seconds >= size:
            return f"{seconds // {'d': 86_400, 'h': 3600, 'm': 60}[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"
