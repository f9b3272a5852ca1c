"""Whether the addresses of the configuration can be listened on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from ..config.binds import Bind, HttpsBind
from ..config.structs import Config
from .findings import Finding, Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def of_ports(config: Config, pid: int | None) -> Iterator[Finding]:
    """Whether every address could be listened on; not asked while the service runs."""
    if pid is not None:
        return
    binds: list[Bind | HttpsBind] = [*config.http.binds, *config.https.binds]
    for bind in binds:
        if bind.address.startswith("unix:") or not bind.port:
            continue
        where = f"{bind.address}:{bind.port}"
        fault = _bind_fault(bind.address, bind.port)
        if fault == errno.EACCES:
            yield Finding(
                ERROR, "privileged-port", where,
                f"port {bind.port} needs root, and you are user {os.geteuid()}",
                "Started by you, 'hipache serve' ends at once.",
                f"sudo sysctl -w net.ipv4.ip_unprivileged_port_start={bind.port}",
                "Start it as root (it gives root up once it listens), take a port from 1024 on, or "
                "let everybody on this machine use this one:",
            )  # fmt: skip
        elif fault == errno.EADDRINUSE:
            yield Finding(
                ERROR, "port-taken", where, "another program listens there",
                "'hipache serve' does not start.",
                f"sudo ss -ltnp 'sport = :{bind.port}'",
                "Stop that program, or let http.port name another port. To see which one it is:",
            )  # fmt: skip
        elif fault is not None:
            yield Finding(
                ERROR, "bad-address", where, f"nobody can listen there: {os.strerror(fault)}",
                "'hipache serve' does not start.", "ip address",
                "http.bind and https.bind name addresses of this machine. These are its own:",
            )  # fmt: skip


def of_admin(config: Config, pid: int | None) -> Iterator[Finding]:
    """Whether metrics and state could be told where the configuration says."""
    bind = config.admin.bind
    if pid is not None or bind is None or str(bind).startswith("unix:"):
        return
    host, port = bind.value
    fault = _bind_fault(host, port)
    if fault is not None:
        yield Finding(
            WARNING, "admin-address", f"admin.bind = {bind}",
            f"nobody can listen there: {os.strerror(fault)}",
            "The proxy serves, but tells its metrics and its state nowhere.",
            f"sudo ss -ltnp 'sport = :{port}'" if fault == errno.EADDRINUSE else "",
            "Name another address in admin.bind, or null for none."
            + (" To see who listens there:" if fault == errno.EADDRINUSE else ""),
        )  # fmt: skip


def _bind_fault(host: str, port: int) -> int | None:
    """The errno of an attempt to take the address, which is given back at once."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return errno.EADDRNOTAVAIL
    with socket.socket(family, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(address)
        except OSError as exc:
            return exc.errno
    return None
