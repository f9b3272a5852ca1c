"""The forms of a request target (RFC 9112 §3.2), brought to origin-form or `*`."""

from __future__ import annotations

import re

from ..fields.names import ALPHANUMERIC
from .refusal import Refusal

HOST = ALPHANUMERIC + b"-._~!$&'()*+,;=:[]%"
"""Octets of a host with port (RFC 3986 §3.2.2); routing looks at what they spell."""
# Browsers send some octets that RFC 3986 wants encoded, such as "|" and "{".
TARGET = bytes(set(range(0x21, 0x7F)) - {0x23})
"""Octets of a target: visible ASCII without `#`, as a target has no fragment."""

_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)")
_DEFAULT_PORT = {b"http": b":80", b"https": b":443"}


def reduce_target(
    method: bytes, target: bytes, host: bytes | None, *, secure: bool
) -> tuple[bytes, bytes | None]:
    """The target in origin-form or `*`, and the authority of an absolute-form (else None).

    The authority wins over Host (RFC 9112 §3.2.2), but a backend may prefer Host, so
    the two must agree. Raises Refusal.
    """
    if method == b"CONNECT":
        raise Refusal(405, "CONNECT is not served here")
    if target == b"*":
        if method != b"OPTIONS":
            raise Refusal(400, "the target * is for OPTIONS")
        return target, None
    absolute = _ABSOLUTE.match(target)
    scheme = absolute.group(1).lower() if absolute else b""
    if absolute is None or scheme not in _DEFAULT_PORT:
        raise Refusal(400, "malformed request target")
    if scheme == b"https" and not secure:
        raise Refusal(421, "an https target needs a TLS connection")  # RFC 9110 §7.4
    authority = absolute.group(2)
    if not authority or authority.translate(None, HOST):
        raise Refusal(400, "malformed authority in the request target")
    if host is not None and origin(host, scheme) != origin(authority, scheme):
        raise Refusal(400, "Host contradicts the request target")
    rest = target[absolute.end() :]
    if not rest and method == b"OPTIONS":
        return b"*", authority  # RFC 9112 §3.2.4
    return (rest if rest.startswith(b"/") else b"/" + rest), authority


def origin(authority: bytes, scheme: bytes) -> bytes:
    """Comparable form: `A.test:80` and `a.test` are one origin of http."""
    return authority.lower().removesuffix(_DEFAULT_PORT[scheme]).removesuffix(b":")
