"""A service beside the backends that the proxy asks on behalf of a frontend. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .backends import Backend, InvalidBackendURL, parse_backend


@dataclass(frozen=True, slots=True)
class Service:
    """Where it is asked."""

    backend: Backend
    target: bytes
    host: bytes
    """The `Host` field of the question."""

    @property
    def shown(self) -> str:
        """Its URL for people. A token may be in the query."""
        return self.backend.url.partition("?")[0]


def parse_service(value: str) -> Service:
    """The service of a URL. Raises ValueError, which quotes no URL: a token may be in it."""
    wrong = ValueError("expected the URL of who is asked, http or https, without a password")
    if not value.startswith(("http://", "https://")) or not value.isascii():
        raise wrong
    try:
        backend, url = parse_backend(value, 0), urlsplit(value)
    except (InvalidBackendURL, ValueError):
        raise wrong from None
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return Service(backend, target.encode("ascii"), url.netloc.encode("ascii"))
