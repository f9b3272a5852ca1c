"""The receivers of alerts: whether the proxy may connect to them, and whether they are there."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from ..config.structs import Config
from ..frontends.backends import SOCKETS
from ..masking import masked_path
from ..routing import Backend
from ..upstream.destinations import configured
from .findings import Finding, Severity

CONNECT_WITHIN = 2.0
"""Seconds for each receiver."""


def look(config: Config) -> Iterator[Finding]:
    """Connects to each of them, and sends nothing."""
    objection = configured(config).objection
    for index, alert in enumerate(config.alerts):
        backend, where = alert.url.value.backend, f"alerts[{index}]"
        shown = masked_path(alert.url.written)
        if why := objection(backend):
            yield Finding(
                Severity.ERROR, "alert-never-sent", where, f"{shown}: {why}",
                "Nobody there is told when something dies.",
                advice="Name another URL, or take the address from server.denyBackends.",
            )  # fmt: skip
        elif problem := _unreachable(backend):
            yield Finding(
                Severity.WARNING, "alert-unreachable", where,
                f"{shown}: no connection from here: {problem}",
                "Messages are repeated for an hour, and then given up.",
                advice="Start the receiver, or correct the URL. A firewall may be between.",
            )  # fmt: skip


def _unreachable(backend: Backend) -> str:
    if backend.scheme in SOCKETS:
        return ""
    try:
        socket.create_connection((backend.host, backend.port), CONNECT_WITHIN).close()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""
