"""The fields that the proxy adds to each request for its backend: who the client is, and the id."""

from __future__ import annotations

from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders, field
from ..fields.via import ViaFields
from .request import Request
from .request_ids import RequestIds

MAX_CLAIMED_ID = 200


class AddedFields:
    """Makes them for one worker."""

    def __init__(self, forwarded: ForwardedFields, hop: bytes) -> None:
        """`hop` is this proxy's name in `Via`."""
        self.forwarded = forwarded
        self.ids = RequestIds()
        self._via = ViaFields(hop)

    def add(self, request: Request) -> str:
        """Set `request.ours`; returns the request's id."""
        headers, client, peer = request.headers, request.client, request.peer
        port = peer.server[1] if peer.server else 0
        request_id = self._request_id(headers, client)
        ours = request.ours = self.forwarded.build(headers, client, peer.scheme, port, request.host)
        ours.append(self._via[request.http_version])
        ours.append((b"x-request-id", request_id.encode("latin-1")))
        if peer.subject is not None:
            ours.append((b"x-client-cert-subject", peer.subject))
        return request_id

    def _request_id(self, headers: RawHeaders, client: str) -> str:
        if self.forwarded.trusts(client):
            claimed = field(headers, b"x-request-id")
            if claimed and len(claimed) <= MAX_CLAIMED_ID:
                return claimed.decode("latin-1")
        return self.ids.new()
