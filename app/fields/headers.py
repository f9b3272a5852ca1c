"""Which fields go on, which stop here, which are ours. Bytes in, bytes out; no I/O.

Names are lower-case throughout, as ASGI has them. Order and repeated fields
survive: a proxy must not merge Set-Cookie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address

from .networks import Networks
from .via import VIA, refuse_loop

RawHeaders = list[tuple[bytes, bytes]]

MAX_LENGTH_DIGITS = 18

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
    b"x-forwarded-protocol",  # Hipache's own spelling of -proto; its users read it
    b"x-real-ip",
    b"x-request-id",
    b"x-client-cert-subject",  # of a certificate that TLS has verified
})  # fmt: skip
"""Fields that say who the client is: always ours, whatever the client sent."""


def _spellings(name: bytes) -> set[bytes]:
    """A name and how it looks the same to backends in CGI's tradition (RFC 3875 §4.1.18).

    >>> sorted(_spellings(b"x-a"))
    [b'x-a', b'x_a']
    """
    first, *others = name.split(b"-")
    found = {first}
    for part in others:
        found = {begun + mark + part for begun in found for mark in (b"-", b"_")}
    return found


_NOT_PASSED_ON = HOP_BY_HOP.union({b"x-debug"}, *map(_spellings, FORWARDED))

# Naming these in `Connection` would take the framing, the route or the
# credentials out of a request on its way: such a request is passed on with them.
_NEVER_NAMED = frozenset({
    b"authorization", b"content-length", b"content-type", b"cookie", b"host", b"expect",
})  # fmt: skip
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})

CHUNKED = (b"transfer-encoding", b"chunked")


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """The fields that `Connection` takes with it (RFC 9110 §7.6.1); mostly none."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection" and value not in _PLAIN_CONNECTION:
            named |= {token.strip(b" \t") for token in value.lower().split(b",")}
    return named - _NEVER_NAMED


def request_headers(headers: RawHeaders, ours: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
    """The fields of the request to the backend: the client's end-to-end ones, then `ours`.

    A chunked body stays chunked; a body with a length keeps it.
    Raises LoopDetected where the request has been here before.
    """
    drop = _NOT_PASSED_ON
    chunked = False
    for name, value in headers:
        if name == b"connection":
            if value not in _PLAIN_CONNECTION:
                drop |= _named_by_connection(headers)
        elif name == b"transfer-encoding":
            chunked = True
            drop |= {b"content-length"}  # never both (RFC 9112 §6.3), whatever server is ours
        elif name == VIA:
            refuse_loop(headers, ours)
    kept = [field for field in headers if field[0] not in drop]
    kept += ours
    if chunked:
        kept.append(CHUNKED)
    return kept


def response_headers(headers: RawHeaders, status: int) -> RawHeaders:
    """The fields of the answer to the client: the backend's end-to-end ones.

    The body's framing is the server's business, a length is kept where it may
    be (RFC 9110 §8.6: never in a 204).
    """
    drop = HOP_BY_HOP
    for name, value in headers:
        if name == b"connection" and value not in _PLAIN_CONNECTION:
            drop |= _named_by_connection(headers)
    if status == 204:
        drop |= {b"content-length"}
    return [field for field in headers if field[0] not in drop]


def has_body(headers: RawHeaders) -> bool:
    """Whether the request announces a body (RFC 9112 §6.3); `Content-Length: 0` is none."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ")):
            return True
    return False


def plain_length(value: bytes) -> bytes | None:
    """A Content-Length as everybody reads it alike, None where nobody can (RFC 9110 §8.6).

    Below 2**63, so that no parser behind us overflows, and without zeros in
    front, which somebody might read as octal.

    >>> plain_length(b"007"), plain_length(b"+7")
    (b'7', None)
    """
    if len(value) > MAX_LENGTH_DIGITS or not value.isdigit():
        return None
    return b"%d" % int(value) if value.startswith(b"0") else value


def field(headers: RawHeaders, name: bytes) -> bytes | None:
    """The first field of that (lower-case) name."""
    for key, value in headers:
        if key == name:
            return value
    return None


class ForwardedFields:
    """Builds the fields that tell a backend who its client is.

    What a client claims is believed only where it connects from one of
    `trusted` (`server.trustedProxies`); from anybody else it is overwritten.
    Hipache believed everybody and wrote addresses as `::ffff:` (hipache.md
    1.10, point 13).
    """

    def __init__(self, trusted: Networks) -> None:
        self.trusts: Callable[[str], bool] = _nobody
        """Whether an address is one of our own proxies."""
        if trusted:
            self.trusts = lru_cache(maxsize=4096)(trusted.match)
        # Nearly every request of a connection gets the same fields but for the host: building
        # them costs 3 us, finding them again 0.2 us.
        self._plain = lru_cache(maxsize=4096)(_fields)

    def build(
        self, headers: RawHeaders, client: str, scheme: str, port: int, host: bytes
    ) -> RawHeaders:
        """`X-Forwarded-For/-Host/-Port/-Proto/-Protocol` and `X-Real-IP`.

        `client` is the peer's address, `port` the one it connected to, `host`
        its `Host` field.
        """
        if not self.trusts(client):
            return [(b"x-forwarded-host", host), *self._plain(client, scheme, port)]
        claimed = {name: value for name, value in headers if name in FORWARDED}
        hops = b", ".join(value for name, value in headers if name == b"x-forwarded-for")
        proto = claimed.get(b"x-forwarded-proto") or claimed.get(b"x-forwarded-protocol")
        return [
            (b"x-forwarded-host", claimed.get(b"x-forwarded-host", host)),
            (b"x-forwarded-for", (hops + b", " if hops else b"") + client.encode()),
            (b"x-forwarded-port", claimed.get(b"x-forwarded-port", b"%d" % port)),
            (b"x-forwarded-proto", proto or scheme.encode()),
            (b"x-forwarded-protocol", proto or scheme.encode()),
            (b"x-real-ip", self.true_client(headers, client).encode()),
        ]

    def true_client(self, headers: RawHeaders, peer: str) -> str:
        """The address of the client itself: the last hop that none of ours vouches for.

        >>> fields = ForwardedFields(Networks.parse(["10.0.0.0/8"]))
        >>> fields.true_client([(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4, 10.0.0.9")], "10.0.0.1")
        '1.2.3.4'
        """
        if not self.trusts(peer):
            return peer
        hops = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        client = peer
        for hop in reversed(hops.decode("latin-1").split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client


def _nobody(address: str) -> bool:
    return False


def _fields(client: str, scheme: str, port: int) -> tuple[tuple[bytes, bytes], ...]:
    address = client.encode()
    return (
        (b"x-forwarded-for", address),
        (b"x-forwarded-port", b"%d" % port),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-protocol", scheme.encode()),
        (b"x-real-ip", address),
    )


def _address(text: str) -> str | None:
    """An address out of `X-Forwarded-For`: some write `1.2.3.4:567` or `[::1]:567`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
