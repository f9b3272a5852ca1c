"""The answers on one connection, parsed by httptools and checked where that is too lenient."""

from __future__ import annotations

import httptools

from ..errors import UpstreamBadAnswer, UpstreamCut, UpstreamError, UpstreamReset, UpstreamStale
from ..fields.headers import RawHeaders
from . import framing
from .framing import MAX_HEAD, MAX_INTERIM, REASONS, SHORTEST_START

# Where in an answer we are. Up to HEAD nothing of it is known for sure.
START, HEAD, CHUNKS, COUNTED, ENDLESS, COMPLETE = range(6)

ORDINARY = frozenset(range(200, 600)) - {204, 304}
"""Final statuses whose answer has a body."""

ZERO, ONE = b"01"
ORDINARY_START = b"2"  # the first digit of a final status, or greater; nothing is less
TOO_MUCH = "the backend sent bytes after the end of its answer"
TOO_LARGE = "the head of the backend's answer is too large"


class AnswerParser:
    """Parses the answers of one connection. `expect` one, then `feed` it until COMPLETE.

    `status`, `reason` and `headers` count once `state` is past HEAD, `trailers`
    and `keep` once it is COMPLETE.
    """

    __slots__ = (
        "_chunked", "_fed", "_fields", "_held", "_http", "_http10", "_interims", "_left",
        "_pieces", "_spent", "_to_head", "headers", "keep", "may_switch", "on_body", "reason",
        "state", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state = COMPLETE
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # called by httptools, without a frame of ours
        self._spent = True
        self.may_switch = False
        """Whether 101 may be the answer. What follows its head is handed on as it comes."""

    def expect(self, *, to_head: bool) -> None:
        """The next bytes answer a request, `to_head` a HEAD request."""
        if self._spent:
            self._http = httptools.HttpResponseParser(self)
            self._spent = False
        self.state = START
        self.reason = self._held = b""
        self._fields: RawHeaders = []
        self._fed = self._interims = 0
        self._chunked = self._http10 = False
        self._to_head = to_head

    def feed(self, data: bytes) -> bytes:
        """Parse what was read; returns the part of the body in it. Raises UpstreamBadAnswer."""
        state = self.state
        if state >= COUNTED:
            return self._count(data) if state == COUNTED else data
        if state == START:
            # By far the most answers begin like this, in one piece; the others cost a call more.
            if self._held or data[:9] != b"HTTP/1.1 " or not data[9:10] >= ORDINARY_START:
                data = self._start(self._held + data)
                if not data or self.state == ENDLESS:
                    return data
            self.state = state = HEAD
        self._parse(data)
        pieces = self._pieces
        body = b""
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._fed = 0
        elif self._fed > MAX_HEAD and self.state <= CHUNKS:
            raise UpstreamBadAnswer("the backend's answer has too large a head or trailer")
        if self._fields and self.state == COMPLETE and framing.size(self._fields) > MAX_HEAD:
            raise UpstreamBadAnswer("the backend's answer has too large a trailer")
        if state == HEAD and self.state != HEAD:
            ordinary = self.status in ORDINARY and self.reason in REASONS
            # Of an ordinary answer that is here to its end, httptools has found all there is.
            if self.state != COMPLETE or not ordinary or self._chunked or self._to_head:
                self._judge(body)
        return body

    def eof(self) -> bool:
        """Note that the backend sends no more; whether that completes the answer."""
        if self.state != ENDLESS:
            return False
        self.state = COMPLETE
        return True

    def loss(self, *, kept: bool) -> UpstreamError:
        """What the loss of the connection now means for the request.

        `kept`: the connection has served another request before.
        """
        if self.state > HEAD:
            return UpstreamCut()
        if self.begun:
            return UpstreamBadAnswer("the backend closed the connection inside its answer's head")
        return UpstreamStale() if kept else UpstreamReset()

    @property
    def begun(self) -> bool:
        """Whether a byte of the answer has come."""
        return self.state != START or bool(self._held) or self._interims > 0

    @property
    def trailers(self) -> RawHeaders:
        """Fields after a chunked body."""
        return self._fields

    # -- called by httptools

    def on_message_begin(self) -> None:
        if self.state == COMPLETE:
            raise UpstreamBadAnswer(TOO_MUCH)

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # httptools leaves the white space behind a value to us (RFC 9112 §5.1).
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"content-length":
            value = framing.checked_length(value)
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._http.get_status_code()
        if self.state == START:  # 1xx
            framing.check_status(self.status, self.reason)
            self.reason = b""
        else:
            if self._fed > MAX_HEAD and framing.size(self._fields) > MAX_HEAD:
                raise UpstreamBadAnswer(TOO_LARGE)
            self.keep = self._http.should_keep_alive()
            self.state = CHUNKS
            self.headers = self._fields
        self._fields = []

    def on_chunk_header(self) -> None:
        self._chunked = True

    def on_message_complete(self) -> None:
        if self.state != START:
            self.state = COMPLETE

    # -- inside

    def _start(self, data: bytes) -> bytes:
        """Drop 1xx answers. Returns the beginning of the final one, once it has come."""
        while len(data) >= SHORTEST_START:
            framing.check_start(data)
            self._http10 = data[7] == ZERO
            if data[9] != ONE:
                return data
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                break
            if end > MAX_HEAD:
                raise UpstreamBadAnswer(TOO_LARGE)
            if data[9:12] == b"101":
                self._switch(data[:end])
                return data[end:]
            self._interims += 1
            if self._interims > MAX_INTERIM:
                raise UpstreamBadAnswer("the backend sends 1xx answers without end")
            self._parse(data[:end])
            data = data[end:]
        if len(data) > MAX_HEAD:
            raise UpstreamBadAnswer(TOO_LARGE)
        self._held = data
        return b""

    def _switch(self, head: bytes) -> None:
        """Take a 101: the last head of its connection."""
        if not self.may_switch:
            raise UpstreamBadAnswer("the backend answered 101, unasked")
        self.state = HEAD
        self._parse(head)
        framing.check_status(self.status, self.reason)
        self.headers = [field for field in self.headers if field[0] not in framing.FRAMING]
        self.state = ENDLESS
        self.keep = False

    def _parse(self, data: bytes) -> None:
        self._fed += len(data)
        try:
            self._http.feed_data(data)
        except httptools.HttpParserCallbackError as exc:
            raise exc.__context__ or exc from None
        except httptools.HttpParserUpgrade:
            pass  # a 101, which is allowed here; its head was all that was fed
        except httptools.HttpParserError as exc:
            raise UpstreamBadAnswer(f"the backend's answer is not valid HTTP: {exc}") from None

    def _judge(self, body: bytes) -> None:
        """The head is complete and `body` came with it: refuse it, or prepare for the rest."""
        framing.check_status(self.status, self.reason)
        length = framing.body_length(
            self.status, self.headers, to_head=self._to_head, http10=self._http10
        )
        if length == framing.UNTIL_CLOSE:
            self.state = ENDLESS
            self.keep = False
        elif length == 0:
            self._no_body(body)
        elif length > 0 and self.state != COMPLETE:
            self.state = COUNTED
            self._left = length - len(body)
            self._spent = True  # httptools is left waiting for this body

    def _no_body(self, body: bytes) -> None:
        if body:
            raise UpstreamBadAnswer(TOO_MUCH)
        # httptools does not know of HEAD: it waits for a body, one without end perhaps.
        self._spent = self._spent or self._to_head
        self.keep = self.keep or not framing.asks_to_close(self.headers, http10=self._http10)
        self.state = COMPLETE

    def _count(self, data: bytes) -> bytes:
        """A body of known length needs no parser, and no copy of every byte."""
        self._left -= len(data)
        if self._left < 0:
            raise UpstreamBadAnswer(TOO_MUCH)
        if self._left == 0:
            self.state = COMPLETE
        return data
