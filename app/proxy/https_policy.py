"""Who is sent to https, and what browsers are told to remember. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..fields.headers import RawHeaders, field
from ..frontends.options import Options
from ..routing import Route

ACME = b"/.well-known/acme-challenge/"
"""Certificate authorities ask there without TLS (RFC 8555 §8.3)."""
REDIRECT = 308
"""Permanent, and the method stays (RFC 9110 §15.4.9)."""
HSTS = b"strict-transport-security"


class HttpsPolicy:
    """What the options of a frontend, or the configuration, say about https."""

    def __init__(self, options: Callable[[Route], Options], *, port: int = 443) -> None:
        """`port` is where redirects lead; 0 counts as 443."""
        self._options = options
        self._port = port

    def elsewhere(self, route: Route, host: bytes, target: bytes, ours: RawHeaders) -> bytes | None:
        """The https URL that a client is sent to, None if it may stay."""
        if not self._options(route).redirect or came_securely(ours):
            return None
        return location(host, target, self._port)

    def insist(self, route: Route, ours: RawHeaders, headers: RawHeaders) -> None:
        """Add HSTS (RFC 6797) to an answer, unless the backend has its own word on it."""
        seconds = self._options(route).hsts
        if seconds and came_securely(ours) and field(headers, HSTS) is None:
            headers.append((HSTS, b"max-age=%d" % seconds))


def location(host: bytes, target: bytes, port: int) -> bytes | None:
    """The https URL of what was asked for; None where no redirect may be.

    >>> location(b"a.example:8080", b"/x?y", 8443)
    b'https://a.example:8443/x?y'
    """
    if target.startswith(ACME) or not target.startswith(b"/"):
        return None
    name = host if host.endswith(b"]") else host.rpartition(b":")[0] or host
    return b"https://%b%b%b" % (name, b"" if port in (0, 443) else b":%d" % port, target)


def came_securely(ours: RawHeaders) -> bool:
    """Whether the client used TLS, towards us or towards a proxy that we trust."""
    return field(ours, b"x-forwarded-proto") == b"https"
