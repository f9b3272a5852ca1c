"""What a client's requests on one connection repeat of their heads."""

from __future__ import annotations

from .repetition import Repetition
from .request_head import RequestHead, parse_head, parse_line

LONGEST = 4096
"""Bytes of all fields of a head, above which nothing is kept of it."""


class RepeatedHead:
    """The last head, if the one before had the same method, version and fields, byte for byte.

    Clients send the same fields with each request. To find them again costs a tenth of reading
    them. A connection serves one request at a time, so all of these heads are one object.
    """

    __slots__ = ("_request", "_section")

    def __init__(self) -> None:
        self._section = b""  # the fields of the last head
        self._request: RequestHead | None = None

    def parse(self, head: bytes, max_headers: int, scheme: str) -> RequestHead:
        """The next head, given without the two CRLFs at its end. Raises Refusal."""
        line, _, section = head.partition(b"\r\n")
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
        request = parse_head(head, max_headers=max_headers, secure=scheme == "https")
        if not same:
            self._section = section if len(section) <= LONGEST else b""
            self._request = None
        elif line.startswith(request.method + b" /"):  # an absolute form would change its Host
            self._request = request
            request.repetition = Repetition([*request.headers])
        return request
