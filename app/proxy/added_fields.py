"""The fields that the proxy adds to each request for its backend: who the client is, and the id."""

from __future__ import annotations

from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders, field
from ..fields.passing import Passing
from ..fields.via import HopFields
from .request import Request
from .request_ids import RequestIds

MAX_CLAIMED_ID = 200


class AddedFields:
    """Makes them for one worker."""

    def __init__(
        self, forwarded: ForwardedFields, hops: HopFields, *, strangers: Passing, trusted: Passing
    ) -> None:
        """`strangers` and `trusted`: which fields pass from clients and from our own proxies."""
        self.forwarded = forwarded
        self.ids = RequestIds()
        self._hops = hops
        self._strangers = strangers
        self._trusted = trusted

    def add(self, request: Request) -> str:
        """Set `request.ours` and `request.passing`; returns the request's id."""
        headers, client, peer = request.headers, request.client, request.peer
        port = peer.server[1] if peer.server else 0
        ours = request.ours = self.forwarded.build(headers, client, peer.scheme, port, request.host)
        ours.append(self._hops[request.http_version])
        if self.forwarded.trusts(client):
            request.passing = self._trusted
            request_id = _claimed_id(headers) or self.ids.new()
        else:
            request.passing = self._strangers
            request_id = self.ids.new()
        ours.append((b"x-request-id", request_id.encode("latin-1")))
        if peer.subject is not None:
            ours.append((b"x-client-cert-subject", peer.subject))
        return request_id


def _claimed_id(headers: RawHeaders) -> str:
    """The id that a proxy in front of us gave to the request, empty without a usable one."""
    claimed = field(headers, b"x-request-id") or b""
    return claimed.decode("latin-1") if len(claimed) <= MAX_CLAIMED_ID else ""
