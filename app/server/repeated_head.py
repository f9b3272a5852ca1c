"""What a client's requests on one connection repeat of their heads."""

from __future__ import annotations

from .peer import Peer
from .repetition import Repetition
from .request_head import RequestHead, parse_head, parse_line
from .shared_heads import SharedHeads, key_of

LONGEST = 4096
"""Bytes of all fields of a head, above which nothing is kept of it."""
MOST_FIELDS = 64
"""Fields of a head, above which nothing is kept: each takes memory, however short it is."""
SELDOM = 0b111000
"""Bits of the number of new heads in a row: where one is set, nobody looks for the next among the
shared ones. So a client whose heads all differ pays for 8 looks at 64 of them."""


class RepeatedHead:
    """The last head, if one before had the same method, version and fields, byte for byte.

    Clients send the same fields with each request. To find them again costs a tenth of reading
    them. A connection serves one request at a time, so all of these heads are one object.
    """

    __slots__ = ("_new", "_request", "_section", "_shared")

    def __init__(self, shared: SharedHeads) -> None:
        """`shared`: the heads that come on all connections."""
        self._shared = shared
        self._section = b""  # the fields of the last head
        self._request: RequestHead | None = None
        self._new = 0  # heads in a row that nobody knew

    def parse(self, head: bytes, max_headers: int, peer: Peer) -> RequestHead:
        """The next head, given without the two CRLFs at its end. Raises Refusal."""
        line, _, section = head.partition(b"\r\n")
        key, same = None, section == self._section
        if not same and not self._new & SELDOM:
            key = key_of(section, peer)
            if key is not None and (known := self._shared.get(key)) is not None:
                self._section, self._request, same = section, known.again(), True
        request = self._request
        if same and request is not None and request.repetition is not None:
            method, target, version = parse_line(line)
            if (
                method == request.method
                and version == request.http_version
                and target.startswith(b"/")
            ):
                self._new = 0
                request.target = target
                request.headers = [*request.repetition.headers]
                return request
        request = parse_head(head, max_headers=max_headers, secure=peer.scheme == "https")
        if not same:
            self._new += 1
            small = len(section) <= LONGEST and len(request.headers) <= MOST_FIELDS
            self._section = section if small else b""
            self._request = None
            if small and key is not None:
                self._shared.learn(key, line, request)
        elif line.startswith(request.method + b" /"):  # an absolute form would change its Host
            self._request = request
            request.repetition = Repetition([*request.headers])
        return request
