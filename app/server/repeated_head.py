"""What a client's requests on one connection repeat of their heads."""

from __future__ import annotations

from .first_heads import FirstHeads, key_of
from .peer import Peer
from .repetition import Repetition
from .request_head import RequestHead, parse_head, parse_line

LONGEST = 4096
"""Bytes of all fields of a head, above which nothing is kept of it."""


class RepeatedHead:
    """The last head, if the one before had the same method, version and fields, byte for byte.

    Clients send the same fields with each request. To find them again costs a tenth of reading
    them. A connection serves one request at a time, so all of these heads are one object.
    """

    __slots__ = ("_first", "_request", "_section")

    def __init__(self, first: FirstHeads) -> None:
        """`first`: the heads that connections have begun with."""
        self._first: FirstHeads | None = first  # None once this one has begun
        self._section = b""  # the fields of the last head
        self._request: RequestHead | None = None

    def parse(self, head: bytes, max_headers: int, peer: Peer) -> RequestHead:
        """The next head, given without the two CRLFs at its end. Raises Refusal."""
        line, _, section = head.partition(b"\r\n")
        first, key = self._first, None
        if first is not None:
            self._first, key = None, key_of(section, peer)
            if key is not None and (known := first.get(key)) is not None:
                self._section, self._request = section, known.again()
        same = section == self._section
        request = self._request
        if same and request is not None and request.repetition is not None:
            method, target, version = parse_line(line)
            if (
                method == request.method
                and version == request.http_version
                and target.startswith(b"/")
            ):
                request.target = target
                request.headers = [*request.repetition.headers]
                return request
        request = parse_head(head, max_headers=max_headers, secure=peer.scheme == "https")
        if not same:
            self._section = section if len(section) <= LONGEST else b""
            self._request = None
            if first is not None and key is not None:
                first.learn(key, line, request)
        elif line.startswith(request.method + b" /"):  # an absolute form would change its Host
            self._request = request
            request.repetition = Repetition([*request.headers])
        return request
