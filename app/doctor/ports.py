"""Checks that the proxy can listen on the addresses of the configuration."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

from ..config.binds import Bind, HttpsBind
from ..config.structs import Config
from .findings import Finding, Severity

MAX_SOCKET_PATH = 107
"""Bytes that sun_path holds besides its NUL (unix(7))."""

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def of_ports(config: Config, pid: int | None) -> Iterator[Finding]:
    """Check that every address is free; does nothing while the service runs."""
    if pid is not None:
        return
    binds: list[Bind | HttpsBind] = [*config.http.binds, *config.https.binds]
    for bind in binds:
        if bind.address.startswith("unix:"):
            yield from _of_path(bind.address, bind.address.removeprefix("unix:"))
            continue
        if not bind.port:
            continue
        where = f"{bind.address}:{bind.port}"
        fault = _bind_fault(bind.address, bind.port)
        if fault == errno.EACCES:
            yield Finding(
                ERROR, "privileged-port", where,
                f"port {bind.port} needs root, and you are user {os.geteuid()}",
                "If you start 'hipache serve', it exits at once.",
                f"sudo sysctl -w net.ipv4.ip_unprivileged_port_start={bind.port}",
                "Start it as root (it gives up root once it listens), use a port from 1024 on, or "
                "let every user of this machine use this one:",
            )  # fmt: skip
        elif fault == errno.EADDRINUSE:
            mute = config.server.status_socket is None
            yield Finding(
                WARNING if mute else ERROR, "port-taken", where,
                "another program listens there"
                + (", or this proxy, whose server.statusSocket is null" if mute else ""),
                "'hipache serve' does not start" + (" where it is another one." if mute else "."),
                f"sudo ss -ltnp 'sport = :{bind.port}'",
                "Stop that program, or set another port in http.port. To see which program it is:",
            )  # fmt: skip
        elif fault is not None:
            yield Finding(
                ERROR, "bad-address", where, f"it cannot be listened on: {os.strerror(fault)}",
                "'hipache serve' does not start.", "ip address",
                "http.bind and https.bind name addresses of this machine. These are its own:",
            )  # fmt: skip


def _of_path(where: str, path: str) -> Iterator[Finding]:
    """Check that a unix socket can be made at `path`."""
    if why := _path_fault(Path(path)):
        yield Finding(
            ERROR, "bad-address", where, f"it cannot be listened on: {why}",
            "'hipache serve' does not start.",
            shlex.join(("ls", "-ld", os.path.dirname(path), path)),
            "Make its folder, or name another path. What is there:",
        )  # fmt: skip


def _path_fault(path: Path) -> str:
    folder = path.parent
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        return f"the path is longer than {MAX_SOCKET_PATH} bytes"
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"you may not write to {folder}"
    if not os.path.lexists(path):
        return ""
    if not path.is_socket():
        return "something else has this name"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            return ""  # a killed predecessor's, which is removed
    return "another program listens there"


def of_admin(config: Config, pid: int | None) -> Iterator[Finding]:
    """Check that the address of the admin listener is free; nothing while the service runs."""
    bind = config.admin.bind
    if pid is not None or bind is None or str(bind).startswith("unix:"):
        return
    host, port = bind.value
    fault = _bind_fault(host, port)
    if fault is not None:
        yield Finding(
            WARNING, "admin-address", f"admin.bind = {bind}",
            f"it cannot be listened on: {os.strerror(fault)}",
            "The proxy serves, but without its admin listener: no metrics and no state.",
            f"sudo ss -ltnp 'sport = :{port}'" if fault == errno.EADDRINUSE else "",
            "Name another address in admin.bind, or null for none."
            + (" To see which program listens there:" if fault == errno.EADDRINUSE else ""),
        )  # fmt: skip


def _bind_fault(host: str, port: int) -> int | None:
    """The errno of an attempt to bind the address; None if it succeeds. Releases it at once."""
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
