"""Binds every address once, before any worker exists, and explains why it cannot bind one."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..fields.networks import Peers
from ..tls.listener import TLSListener

BACKLOG = 2048
_SD_FIRST_FD = 3


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen: an IP address and port, or the path of a unix socket."""

    host: str
    port: int = 0

    @property
    def is_unix(self) -> bool:
        return self.host.startswith("/")

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixListener(socket.socket):
    """A listening unix socket that knows which file is its own."""

    def __init__(self, path: str, fileno: int | None = None) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fileno)
        self._path = path
        self.file: tuple[int, int] | None = None
        """Device and inode of the file to remove at the end; None while it is another's."""

    def listen_there(self, mode: int) -> None:
        """Bind and listen. Raises OSError. Of `mode` the kernel checks the permission to write."""
        self.bind(self._path)
        status = os.stat(self._path)
        self.file = status.st_dev, status.st_ino
        os.chmod(self._path, mode)
        self.listen(BACKLOG)

    def remove_file(self) -> None:
        """Remove the file, once, if it is still this socket's."""
        with contextlib.suppress(OSError):  # already gone, or the folder is no longer ours
            status = os.stat(self._path)
            if self.file == (status.st_dev, status.st_ino):
                os.unlink(self._path)
        self.file = None


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """One listening socket and what is spoken there."""

    sock: socket.socket
    tls: TLSListener | None = None
    proxied_by: Peers | None = None
    """The balancers, each of which must begin with a PROXY header; None: no PROXY protocol."""
    entry: int = 0
    """Its index in `http.bind`, or in `https.bind` if it speaks TLS."""


def bind_all(addresses: Iterable[ListenAddress]) -> list[socket.socket]:
    """One listening socket for each address, in order.

    Raises ConfigError, which names the address and the reason; then nothing stays bound.
    """
    bound: list[socket.socket] = []
    try:
        for address in addresses:
            bound.append(bind(address))
    except ConfigError:
        for sock in bound:
            sock.close()
        raise
    return bound


def bind(address: ListenAddress, mode: int = 0o666) -> socket.socket:
    """A socket that listens there, a unix socket with this mode.

    Raises ConfigError naming the address and the reason.
    """
    return _bind_unix(address, mode) if address.is_unix else _bind_tcp(address)


def _bind_tcp(address: ListenAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each family has a socket of its own, so "::" and "0.0.0.0" can stand side by side.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise ConfigError(f"cannot listen on {address}: {_reason(exc, address.port)}") from exc
    return sock


def _bind_unix(address: ListenAddress, mode: int) -> socket.socket:
    sock = UnixListener(address.host)
    try:
        _remove_dead_socket(address.host)
        sock.listen_there(mode)
    except OSError as exc:
        sock.close()
        raise ConfigError(f"cannot listen on {address}: {_reason(exc, 0)}") from exc
    return sock


def _remove_dead_socket(path: str) -> None:
    """Remove the socket file of a killed predecessor, but never a socket that still answers."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Stop listening, and remove the files of unix sockets that are still ours."""
    for sock in sockets:
        if isinstance(sock, UnixListener):
            sock.remove_file()
        sock.close()


def _reason(exc: OSError, port: int) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "the address is in use by another program"
    if exc.errno == errno.EACCES and 0 < port < 1024:
        return f"port {port} needs root or CAP_NET_BIND_SERVICE"
    return exc.strerror or str(exc)


def from_systemd(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd handed over by socket activation (sd_listen_fds(3))."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=fd) for fd in range(_SD_FIRST_FD, _SD_FIRST_FD + count)]
    for sock in sockets:
        sock.set_inheritable(False)  # else every program that this one starts would listen, too
    return sockets


def names_from_systemd(environ: Mapping[str, str], count: int) -> list[str]:
    """The `FileDescriptorName=` of each, empty if it has none."""
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return [*names, *[""] * count][:count]
