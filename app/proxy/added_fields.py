"""The fields that the proxy adds to each request for its backend: who the client is, and the id."""

from __future__ import annotations

from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders, field
from ..fields.known_fields import ID
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
        """Set `ours`, `passing` and `id_field` of the request; returns its id."""
        repetition = request.repetition
        if repetition is None or repetition.ours is None:
            claimed_id = self._make(request)
            if repetition is not None:
                repetition.ours, repetition.passing = request.ours, request.passing
                repetition.claimed_id = claimed_id
        else:  # all of it follows from the head, the connection and the configuration
            request.ours, request.passing = repetition.ours, repetition.passing
            claimed_id = repetition.claimed_id
        request_id = claimed_id or self.ids.new()
        request.id_field = (ID, request_id.encode("latin-1"))
        return request_id

    def _make(self, request: Request) -> str:
        """Set `ours` and `passing`; returns the id that a proxy of ours gave to the request."""
        headers, client, peer = request.headers, request.client, request.peer
        port = peer.server[1] if peer.server else 0
        ours = self.forwarded.build(headers, client, peer.scheme, port, request.host)
        ours.append(self._hops[request.http_version])
        if peer.subject is not None:
            ours.append((b"x-client-cert-subject", peer.subject))
        request.ours = tuple(ours)
        trusted = self.forwarded.trusts(client)
        request.passing = self._trusted if trusted else self._strangers
        return _claimed_id(headers) if trusted else ""


def _claimed_id(headers: RawHeaders) -> str:
    """The id that a proxy in front of us gave to the request, empty without a usable one."""
    claimed = field(headers, ID) or b""
    return claimed.decode("latin-1") if len(claimed) <= MAX_CLAIMED_ID else ""
