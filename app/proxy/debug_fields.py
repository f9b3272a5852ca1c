"""`X-Debug`: who may ask, and the fields of the answer. Pure.

The fields are Hipache's (lib/worker.js, 0.3.1). Hipache sent them to every client
that sent an `X-Debug` of any value, and passed that field on to the backend. Here
the client's address must be in `server.debugFrom`, or the value must be a ticket
of `hipache debug-ticket` (hipache.md 1.10, point 14).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest

from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders, field
from ..fields.names import ADDRESSES, FieldNames
from ..fields.networks import Networks
from ..routing import Backend, Route, normalise_host

ASKED = b"x-debug"
TELLING = FieldNames.parse(ADDRESSES)


class DebugTickets:
    """Signed permissions to see the fields until a time (Unix seconds)."""

    def __init__(self, secret: str) -> None:
        self._key = blake2b(secret.encode(), digest_size=32, person=b"hipache debug").digest()

    def issue(self, until: int) -> str:
        """
        >>> DebugTickets("s").issue(1_800_000_000)[:9]
        '6b49d200.'
        """
        time = f"{until:x}"
        return f"{time}.{blake2b(time.encode(), key=self._key, digest_size=16).hexdigest()}"

    def valid(self, ticket: bytes, now: float) -> bool:
        """Whether it is a ticket of ours that has not expired."""
        try:
            until = int(ticket.partition(b".")[0][:16], 16)
        except ValueError:
            return False
        return until >= now and compare_digest(self.issue(until).encode(), ticket)


class DebugFields:
    """One worker's rule, and the fields themselves."""

    def __init__(
        self,
        allowed: Networks,
        secret: str | None,
        forwarded: ForwardedFields,
        *,
        version: str,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives Unix seconds."""
        self._allowed = allowed
        self._tickets = DebugTickets(secret) if secret else None
        self._forwarded = forwarded
        self._version = (b"x-debug-version-hipache", version.encode())
        self._clock = clock

    def granted(self, headers: RawHeaders, peer: str) -> bool:
        """Whether the client that sent these may see the fields. `peer` connected to us."""
        value = field(headers, ASKED) or b""
        if self._tickets is not None and self._tickets.valid(value, self._clock()):
            return True
        if not self._forwarded.trusts(peer) and any(TELLING.has(name) for name, _ in headers):
            return False  # an unknown proxy stands between us and the client
        return self._allowed.match(self._forwarded.true_client(headers, peer))

    def of_answer(
        self, host: bytes, route: Route, backend: Backend, *, total: float, to_head: float
    ) -> RawHeaders:
        """For the answer of a backend. `total` and `to_head` are seconds until its head."""
        return [
            self._version,
            (b"x-debug-backend-url", _value(_href(backend.url))),
            (b"x-debug-backend-id", b"%d" % backend.index),
            (b"x-debug-vhost", _value(route.frontend.identifier)),
            (b"x-debug-frontend-key", _value(normalise_host(host) + route.frontend.prefix)),
            (b"x-debug-time-total", b"%d" % round(total * 1000)),
            (b"x-debug-time-backend", b"%d" % round(to_head * 1000)),
        ]

    def of_error(self, message: str) -> RawHeaders:
        """For a page of our own: the full reason, of which other clients see less."""
        return [self._version, (b"x-debug-error", _value(message))]


def _href(url: str) -> str:
    """As Hipache wrote it: with a path, if only the root's."""
    scheme, separator, rest = url.partition("://")
    return url if not separator or "/" in rest else f"{scheme}://{rest}/"


def _value(text: str) -> bytes:
    """As a field's value, whatever stands in the store."""
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text)[:1000].encode("ascii")
