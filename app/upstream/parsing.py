"""The answers on one connection, parsed by httptools and checked where that is too lenient."""

from __future__ import annotations

import httptools

from ..errors import UpstreamBadAnswer, UpstreamCut, UpstreamError, UpstreamReset, UpstreamStale
from ..fields.names import LF
from . import framing
from .framing import MAX_HEAD, MAX_INTERIM, REASONS, SHORTEST_START
from .known_heads import END, KNOWN_HEADS, SELDOM, SMALL
from .mending import head_end, mended
from .parsed_answer import CHUNKS, COMPLETE, COUNTED, ENDLESS, HEAD, START, ParsedAnswer

ORDINARY = frozenset(range(200, 600)) - {204, 304}
"""Final statuses whose answer has a body."""

ZERO, ONE = b"01"
ORDINARY_START = b"2"  # the first digit of a final status, or greater; nothing is less


class AnswerParser(ParsedAnswer):
    """Parses the answers of one connection. `expect` one, then `feed` it until COMPLETE.

    Bytes behind the end are dropped, however they come; they
    only end the connection (RFC 9112 §6.3).
    """

    __slots__ = (
        "_held", "_http10", "_interims", "_pieces", "_to_head", "may_switch", "on_body",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state = COMPLETE
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # called by httptools, without a frame of ours
        self._spent = True
        self._new = 0
        self.may_switch = False
        """Whether 101 may be the answer. What follows its head is handed on as it comes."""

        self.interims = ()

    def expect(self, *, to_head: bool) -> None:
        """The next bytes answer a request, `to_head` a HEAD request."""
        self.state = START
        self.reason = self._held = b""
        self.trailers = []
        self._fed = self._interims = 0
        self._chunked = self._http10 = self._more = False
        self._to_head = to_head

    def feed(self, data: bytes) -> bytes:
        """Parse what was read; returns the part of the body in it. Raises UpstreamBadAnswer."""
        state, head = self.state, b""
        if state >= COUNTED:
            return self._count(data) if state == COUNTED else data
        if state == START:
            if not (self._new & SELDOM or len(data) > SMALL or self._held or self._to_head):
                head, _, body = data.partition(END)
                if len(head) < len(data) and (known := KNOWN_HEADS.get(head)) is not None:
                    return self._take_known(known, body)
            self._new += 1
            if self._spent:  # only now: a request that waits for its answer needs no parser
                self._renew()
            # By far the most answers begin like this, in one piece; the others cost a call more.
            if self._held or data[:9] != b"HTTP/1.1 " or not data[9:10] >= ORDINARY_START:
                data = self._start(self._held + data)
                if not data or self.state == ENDLESS:
                    return data
            self.state = state = HEAD
        try:
            self._parse(data)
        except UpstreamBadAnswer:
            if self.state != HEAD:
                raise
            if end := head_end(data):
                self._restart()
                data = mended(data[:end]) + data[end:]
                self._parse(data)
        if self.state == HEAD:
            return self._hold(data)
        pieces = self._pieces
        body = b""
        if pieces:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._fed = 0
        elif self._fed > MAX_HEAD and self.state <= CHUNKS:
            raise UpstreamBadAnswer("the backend's answer has too large a head or trailer")
        if self.trailers and self.state == COMPLETE and framing.size(self.trailers) > MAX_HEAD:
            raise UpstreamBadAnswer("the backend's answer has too large a trailer")
        if state == HEAD:
            ordinary = self.status in ORDINARY and self.reason in REASONS
            # Of an ordinary answer that is here to its end, httptools has found all there is.
            if self.state != COMPLETE or not ordinary or self._chunked or self._to_head:
                body = self._judge(body)
            elif head and self.keep and len(head) + len(END) + len(body) == len(data):
                KNOWN_HEADS.learn(head, self.status, self.reason, self.headers, len(body))
        if data[-1] == LF and self.state == COMPLETE:
            self._look_behind(data, body)
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

    # -- inside

    def _renew(self) -> None:
        self._http = httptools.HttpResponseParser(self)
        self._http.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # Apache 1.3 pads
        self._spent = False

    def _restart(self) -> None:
        """Forget what was parsed of a head."""
        self._renew()
        self.reason = b""
        self.trailers = []
        self._fed = 0

    def _hold(self, data: bytes) -> bytes:
        """The head in `data` is not complete: it is parsed again, with what comes."""
        head_end(data)  # it may be too large already
        self._restart()
        self.state = START
        self._held = data
        return b""

    def _start(self, data: bytes) -> bytes:
        """Take 1xx answers off. Returns the rest, once it has the whole head of the final one."""
        framing.check_start(data)
        while len(data) >= SHORTEST_START:
            self._http10 = data[7] == ZERO
            end = head_end(data)
            if not end:
                break
            if data[9] != ONE:
                self._held = b""
                return data
            head, data = data[:end], data[end:]
            if head[9:12] == b"101":
                self._switch(head)
                return data
            self._interims += 1
            if self._interims > MAX_INTERIM:
                raise UpstreamBadAnswer("the backend sends 1xx answers without end")
            self._parse(mended(head))
            framing.check_start(data)
        self._held = data
        return b""

    def _switch(self, head: bytes) -> None:
        """Take a 101: the last head of its connection."""
        if not self.may_switch:
            raise UpstreamBadAnswer("the backend answered 101, unasked")
        self.state = HEAD
        self._parse(mended(head))
        framing.check_status(self.status, self.reason)
        self.headers = [field for field in self.headers if field[0] not in framing.FRAMING]
        self.state = ENDLESS
        self.keep = False

    def _parse(self, data: bytes) -> None:
        self._fed += len(data)
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a 101, which is allowed here; its head was all that was fed
        except httptools.HttpParserError as exc:
            if self.state == COMPLETE or (self._to_head and self.state > HEAD):
                self._has_more()
            elif isinstance(exc, httptools.HttpParserCallbackError):
                raise exc.__context__ or exc from None
            else:
                text = f"the backend's answer is not valid HTTP: {exc}"
                raise UpstreamBadAnswer(text) from None

    def _look_behind(self, data: bytes, body: bytes) -> None:
        """Find line breaks behind the end, which httptools skips. `data` has `body` in it."""
        if self._chunked:
            more = data.endswith(b"\r\n\r\n\r\n")
        else:
            more = len(data) > data.find(b"\r\n\r\n") + 4 + len(body)
        if more:
            self._has_more()

    def _judge(self, body: bytes) -> bytes:
        """The head is complete and `body` came with it: refuse it, or prepare for the rest.

        Returns what of `body` belongs to the answer.
        """
        framing.check_status(self.status, self.reason)
        length = framing.body_length(
            self.status, self.headers, to_head=self._to_head, http10=self._http10
        )
        if length == framing.UNTIL_CLOSE:
            self.state = ENDLESS
            self.keep = False
        elif length == 0:
            return self._no_body(body)
        elif length > 0 and self.state != COMPLETE:
            self.state = COUNTED
            self._left = length - len(body)
            self._spent = True  # httptools is left waiting for this body
        return body

    def _no_body(self, body: bytes) -> bytes:
        # httptools does not know of HEAD: it waits for a body, one without end perhaps.
        self._spent = self._spent or self._to_head
        self.keep = self.keep or not framing.asks_to_close(self.headers, http10=self._http10)
        self.state = COMPLETE
        if body or self._chunked or self._more:
            self._has_more()
        return b""
