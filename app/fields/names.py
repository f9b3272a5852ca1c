"""Names of fields: which end here, which are ours, which a stranger may not claim. Pure.

Names are lower-case throughout. A backend in CGI's tradition cannot tell `X_Real_IP` from
`X-Real-IP` (RFC 3875 §4.1.18), so names are compared by how it reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN = ALPHANUMERIC + b"!#$%&'*+-.^_`|~"
"""Octets of a token (RFC 9110 §5.6.2)."""
CONTROLS = bytes(set(range(32)) - {9}) + b"\x7f"
"""Octets that no field's value may have (RFC 9110 §5.5)."""
NUL, LF, CR, SPACE = b"\0\n\r "
"""As numbers: bytes on the left of `in` first raise, and lose, a TypeError; a number does not."""

HOP_BY_HOP = frozenset({
    b"connection",
    b"keep-alive",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",  # not standard, but still sent (RFC 9112 §C.2.2)
    b"http2-settings",  # belongs to an upgrade that we do not speak (RFC 9113 §3.1)
})  # fmt: skip

FORWARDED = frozenset({
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-forwarded-protocol",  # Hipache's own spelling of -proto
    b"x-real-ip",
    b"x-request-id",
    b"x-client-cert-subject",  # of a certificate that TLS has verified
})  # fmt: skip
"""Fields that say who the client is: always ours, whatever the client sent."""

ADDRESSES = (
    "Forwarded", "Forwarded-*", "X-Forwarded", "X-Forwarded-*",
    "X-Real-IP", "Client-IP", "X-Client-IP", "True-Client-IP", "X-True-Client-IP",
    "Cluster-Client-IP", "X-Cluster-Client-IP", "Proxy-Client-IP", "WL-Proxy-*",
    "X-Remote-IP", "X-Remote-Addr", "X-Originating-IP", "X-ProxyUser-IP",
    "CF-Connecting-IP", "CF-Connecting-IPv6", "Fastly-Client-IP", "Fly-Client-IP",
    "X-Azure-ClientIP", "X-Azure-SocketIP", "X-Envoy-External-Address",
)  # fmt: skip
"""Fields in which proxies tell a client's address, and how it reached them."""

CLAIMS = (
    *ADDRESSES,
    # TLS in front of us
    "Front-End-Https", "X-Scheme", "X-Url-Scheme", "X-ARR-SSL",
    # another address than the one that was asked for; gunicorn takes the last two from a proxy
    "X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host", "X-Original-Proto",
    "X-Original-For", "X-Original-Forwarded-For", "X-Rewrite-URL", "X-Host", "X-Script-Name",
    "X-Envoy-Original-Path", "SCRIPT_NAME", "PATH_INFO",
    # a user or a certificate that a proxy has verified (RFC 9440 for one)
    "Remote-User", "X-Remote-User", "Client-Cert", "Client-Cert-Chain", "X-Client-Cert*",
    "X-Client-Verify", "SSL-Client-*", "X-SSL-Client-*", "X-ARR-ClientCert",
    # orders of a proxy to Rack: which files to send (CVE-2025-61780)
    "X-Sendfile-Type", "X-Accel-Mapping",
    # CGI programs read it as their own $HTTP_PROXY (CVE-2016-5385, httpoxy)
    "Proxy",
)  # fmt: skip
"""What only a proxy of ours may say; `server.dropFields` adds to it. `*` stands for any rest."""

_PUNCTUATION = bytes(set(range(256)) - set(ALPHANUMERIC))
_READ_ALIKE = bytes.maketrans(_PUNCTUATION, b"-" * len(_PUNCTUATION))
_ENTRY = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]+\*?", re.ASCII)  # RFC 9110 §5.6.2


def as_read(name: bytes) -> bytes:
    """One name for all that a CGI program may read alike: servers differ in what becomes `_`.

    >>> as_read(b"x_real.ip")
    b'x-real-ip'
    """
    return name.translate(_READ_ALIKE)


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Names of fields, and beginnings of names."""

    written: frozenset[bytes] = frozenset()
    """As the list spells them, in lower case, with the `*` of a beginning."""
    names: frozenset[bytes] = frozenset()
    """As they are read."""
    beginnings: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> FieldNames:
        """`X-User` is a name, `X-Auth-*` a beginning. Raises ValueError."""
        written = frozenset(_entry(entry) for entry in entries)
        beginnings = sorted(as_read(each[:-1]) for each in written if each.endswith(b"*"))
        names = frozenset(as_read(each) for each in written if not each.endswith(b"*"))
        return cls(written, names, tuple(beginnings))

    def has(self, name: bytes) -> bool:
        """Whether the list has `name` (lower-case), in whichever spelling.

        >>> FieldNames.parse(["X-A", "X-B-*"]).has(b"x_b_c")
        True
        """
        read = as_read(name)
        return read in self.names or read.startswith(self.beginnings)

    def spells(self, name: bytes) -> bool:
        """Whether `name` is spelt as in the list: with hyphens behind a beginning.

        >>> FieldNames.parse(["X-B-*"]).spells(b"x_b_c")
        False
        """
        return name in self.written or (name == as_read(name) and name.startswith(self.beginnings))


def _entry(entry: str) -> bytes:
    if not _ENTRY.fullmatch(entry):
        raise ValueError("Expected names of fields, as in X-User or X-Auth-*")
    return entry.lower().encode("ascii")
