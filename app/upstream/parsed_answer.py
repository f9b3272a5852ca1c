"""One answer as httptools tells of it: its head, its trailers, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable

import httptools

from ..errors import UpstreamBadAnswer
from ..fields.headers import RawHeaders
from . import framing
from .framing import MAX_HEAD, TOO_LARGE
from .known_heads import KnownHead

# Where in an answer we are. Up to HEAD nothing of it is known for sure.
START, HEAD, CHUNKS, COUNTED, ENDLESS, COMPLETE = range(6)


class ParsedAnswer:
    """Has what httptools calls. `status`, `reason` and `headers` count once `state` is past HEAD,
    `trailers` and `keep` once it is COMPLETE."""

    __slots__ = (
        "_chunked", "_fed", "_http", "_left", "_more", "_new", "_spent", "headers", "interims",
        "keep", "reason", "state", "status", "trailers",
    )  # fmt: skip

    _chunked: bool
    _fed: int
    _http: httptools.HttpResponseParser
    _left: int
    """Bytes of a body of known length that have not come."""
    _more: bool
    """Bytes came behind the end."""
    _new: int
    """Heads in a row that were not known."""
    _spent: bool
    """The next answer needs another httptools parser."""
    state: int
    reason: bytes
    keep: bool
    """Whether another request may follow on the connection."""
    headers: RawHeaders
    trailers: RawHeaders
    """Fields after a chunked body; before it, what has come of the head."""
    interims: tuple[tuple[int, RawHeaders], ...]
    """Status and fields of the 1xx answers since it was last emptied."""

    @property
    def refused(self) -> bool:
        """Whether the backend did not do what was asked; perhaps it has not read the body."""
        return self.state > HEAD and self.status >= 300

    def pass_interims(self, tell: Callable[[int, RawHeaders], None]) -> None:
        """Tell of the 1xx answers that came since the last time."""
        interims, self.interims = self.interims, ()
        for status, headers in interims:
            tell(status, headers)

    # -- called by httptools

    def on_message_begin(self) -> None:
        if self.state == COMPLETE:
            raise UpstreamBadAnswer  # the end is passed; `_parse` knows what that means

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # httptools leaves the white space behind a value to us (RFC 9112 §5.1).
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"content-length":
            value = framing.checked_length(value)
        self.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._http.get_status_code()
        if self.state == START:  # 1xx
            framing.check_status(self.status, self.reason)
            self.reason = b""
            self.interims += ((self.status, self.trailers),)
        else:
            if self._fed > MAX_HEAD and framing.size(self.trailers) > MAX_HEAD:
                raise UpstreamBadAnswer(TOO_LARGE)
            self.keep = self._http.should_keep_alive()
            self.state = CHUNKS
            self.headers = self.trailers
        self.trailers = []

    def on_chunk_header(self) -> None:
        self._chunked = True

    def on_message_complete(self) -> None:
        if self.state != START:
            self.state = COMPLETE

    # -- without httptools

    def _take_known(self, known: KnownHead, body: bytes) -> bytes:
        """Take a head that needs no parser, and what came with it of its body."""
        self.status, self.reason, self.headers, length = known
        self.keep = True
        self._new = 0
        if len(body) == length:
            self.state = COMPLETE
            return body
        self._left = length
        return self._count(body)

    def _count(self, data: bytes) -> bytes:
        """A body of known length needs no parser, and no copy of every byte."""
        self._left -= len(data)
        if self._left > 0:
            self.state = COUNTED
            return data
        self.state = COMPLETE
        if self._left < 0:
            self._has_more()
            return data[: self._left]
        return data

    def _has_more(self) -> None:
        """There are bytes behind the end."""
        self._more = self._spent = True
        self.keep = False
