"""The rows of a frontend's list: what a backend's URL may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from urllib.parse import urlsplit

from ..errors import HipacheError
from ..masking import masked_url

WEB_PORTS = {"http": 80, "https": 443}
"""Ports of URLs that name none."""


class InvalidBackendURL(HipacheError):
    """A list element that is not the URL of a backend; the text says why."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One URL of a frontend's list."""

    url: str
    """Exactly as it stands in the list: its identity in marks and publications."""
    index: int
    """Position among the backends, from 0: Hipache's backend id."""
    scheme: str
    """`http`, `https` or `unix`."""
    host: str
    """Name or address without brackets; for `unix` the path of the socket."""
    port: int
    """0 for `unix`."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection may be shared by: equal origins share a pool."""
        return (self.scheme, self.host, self.port)


@dataclass(frozen=True, slots=True)
class BadEntry:
    """A list element that cannot be used, kept for the log and for `doctor`."""

    text: str
    index: int
    reason: str


def parse_backend(text: str, index: int) -> Backend:
    """One list element as a Backend.

    `host:port` without a scheme means http, as planb reads it; Hipache took the
    host for the scheme (hipache.md 1.10, point 16). A path or query in the URL
    is ignored, as in Hipache. `unix:/path/to/socket` names a socket.

    Raises InvalidBackendURL, whose text says what is wrong.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise InvalidBackendURL(f"{text!r}: a unix socket needs an absolute path")
        return Backend(text, index, "unix", path, 0)
    shown = masked_url(text)  # a password may be in it
    if any(c <= " " or c == "\x7f" for c in text):
        raise InvalidBackendURL(f"{shown!r}: spaces or control characters")
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port
    except ValueError as exc:
        raise InvalidBackendURL(f"{shown!r}: {exc if shown == text else 'no URL'}") from None
    if url.scheme not in WEB_PORTS:
        raise InvalidBackendURL(f"{shown!r}: scheme is not http, https or unix")
    if not url.hostname:
        raise InvalidBackendURL(f"{shown!r}: no host")
    if url.username is not None:
        raise InvalidBackendURL(f"{shown!r}: user and password are not supported")
    if port == 0:
        raise InvalidBackendURL(f"{shown!r}: port 0")
    scheme, host = intern(url.scheme), intern(url.hostname)  # lists name the same machines
    return Backend(text, index, scheme, host, port or WEB_PORTS[scheme])
