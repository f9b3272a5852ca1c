"""Which clients are redirected to https, and what browsers are told to remember. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..fields.headers import RawHeaders, field

ACME = b"/.well-known/acme-challenge/"
"""Certificate authorities ask there without TLS (RFC 8555 §8.3)."""
REDIRECT = 308
"""Permanent, and the method stays (RFC 9110 §15.4.9)."""
HSTS = b"strict-transport-security"


def redirect_location(
    host: bytes, target: bytes, ours: Sequence[tuple[bytes, bytes]], port: int, *, web_socket: bool
) -> bytes | None:
    """The URL with TLS of what was asked for, None if the client may stay.

    A WebSocket's is `wss:`: clients of WebSockets that follow redirects accept no other
    scheme. `ours` are the fields that the proxy adds to the request, `port` is where TLS is
    served; 0 counts as 443.
    """
    if came_securely(ours):
        return None
    return secure_url(host, target, port, b"wss" if web_socket else b"https")


def add_hsts(seconds: float, ours: Sequence[tuple[bytes, bytes]], headers: RawHeaders) -> None:
    """Add HSTS (RFC 6797) for `seconds` to an answer over TLS, unless the backend sent its own."""
    if came_securely(ours) and field(headers, HSTS) is None:
        headers.append((HSTS, b"max-age=%d" % seconds))


def secure_url(host: bytes, target: bytes, port: int, scheme: bytes = b"https") -> bytes | None:
    """The URL with TLS; None for what is never redirected.

    >>> secure_url(b"a.example:8080", b"/x?y", 8443)
    b'https://a.example:8443/x?y'
    """
    if target.startswith(ACME) or not target.startswith(b"/"):
        return None
    name = host if host.endswith(b"]") else host.rpartition(b":")[0] or host
    return b"%b://%b%b%b" % (scheme, name, b"" if port in (0, 443) else b":%d" % port, target)


def came_securely(ours: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the client used TLS, towards us or towards a trusted proxy in front of us."""
    return field(ours, b"x-forwarded-proto") == b"https"
