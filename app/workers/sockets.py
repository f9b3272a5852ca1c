"""The sockets that a service listens on, by the names under which a successor takes them over."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ..server.listeners import (
    ListenAddress,
    UnixListener,
    bind,
    close_all,
    from_systemd,
    names_from_systemd,
)

SYSTEMD = "systemd:"


class SocketOffer(msgspec.Struct, frozen=True, array_like=True):
    """A listening socket that a successor may take over."""

    name: str
    descriptor: int
    file: tuple[int, int] | None = None
    """Device and inode of a unix socket's file, which goes over with it."""


class ServiceSockets:
    """Every listening socket of one supervisor; those that its predecessor offers are used first.

    What a predecessor offers belongs to it until `own`: its files stay if the takeover fails.
    """

    def __init__(self, offers: Iterable[SocketOffer] = ()) -> None:
        self._offers = list(offers)
        self._taken: list[tuple[SocketOffer, socket.socket]] = []
        self._held: list[tuple[str, socket.socket]] = []

    def bind(self, address: ListenAddress, role: str = "", mode: int = 0o666) -> socket.socket:
        """A socket that listens there, a unix socket with this mode. Raises ConfigError."""
        name = f"{role}{address}"
        sock = self._take(name, address) or bind(address, mode)
        self._held.append((name, sock))
        return sock

    def given(self, environ: Mapping[str, str]) -> list[tuple[str, socket.socket]]:
        """The sockets that systemd opened, to us or to a predecessor, each with its name."""
        found = from_systemd(environ)
        named = list(zip(names_from_systemd(environ, len(found)), found, strict=True))
        for offer in [each for each in self._offers if each.name.startswith(SYSTEMD)]:
            if (sock := self._take(offer.name)) is not None:
                named.append((offer.name.removeprefix(SYSTEMD), sock))
        self._held += [(f"{SYSTEMD}{name}", sock) for name, sock in named]
        return named

    def _take(self, name: str, address: ListenAddress | None = None) -> socket.socket | None:
        offer = next((each for each in self._offers if each.name == name), None)
        if offer is None:
            return None
        self._offers.remove(offer)
        if address is not None and address.is_unix:
            sock: socket.socket = UnixListener(address.host, offer.descriptor)
        else:
            sock = socket.socket(fileno=offer.descriptor)
        sock.set_inheritable(False)
        self._taken.append((offer, sock))
        return sock

    def refuse_rest(self) -> None:
        """Close what was offered and is not wanted."""
        for offer in self._offers:
            os.close(offer.descriptor)
        self._offers.clear()

    @property
    def taken(self) -> list[str]:
        """The names of what was taken over."""
        return [offer.name for offer, _ in self._taken]

    def own(self) -> None:
        """The predecessor has handed over: the files of its sockets are ours to remove."""
        for offer, sock in self._taken:
            if isinstance(sock, UnixListener):
                sock.file = offer.file
        self._taken.clear()

    def offer(self) -> list[SocketOffer]:
        """What a successor may take over."""
        return [
            SocketOffer(name, sock.fileno(), sock.file if isinstance(sock, UnixListener) else None)
            for name, sock in self._held
            if sock.fileno() >= 0
        ]

    def hand_over(self, names: Collection[str]) -> None:
        """Listen no more. The files of those that a successor took stay."""
        for name, sock in self._held:
            if name in names and isinstance(sock, UnixListener):
                sock.file = None
        close_all(sock for _, sock in self._held)
