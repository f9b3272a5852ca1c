"""What has come of one answer over HTTP/2 and was not passed on yet."""

from __future__ import annotations

from ...errors import (
    UpstreamBadAnswer,
    UpstreamCut,
    UpstreamError,
    UpstreamRefused,
    UpstreamReset,
    UpstreamStale,
)
from ...fields.headers import RawHeaders
from ...fields.trailers import Trailers
from ...http2.engine import ErrorCode
from ..framing import MAX_INTERIM
from .answer_sections import ANSWER_SECTIONS, AnswerSection, status_and_fields


class AnswerParts:
    """Collects what one read has brought, so that a small answer is passed on whole."""

    __slots__ = (
        "_body", "_error", "_head", "_interims", "_trailers", "begun", "ended", "unread",
    )  # fmt: skip

    def __init__(self) -> None:
        self.unread = 0
        """Bytes of the answer that nobody has taken: our window is smaller by as much."""
        self._forget()

    def _forget(self) -> None:
        self._head: tuple[int, RawHeaders] | None = None
        self._body: list[bytes] = []
        self._trailers: Trailers = ()
        self._error: UpstreamError | None = None
        self._interims = 0
        self.begun = self.ended = False
        """Whether the answer's head was passed on, and whether its end has come."""

    def interim(self, fields: AnswerSection) -> tuple[int, RawHeaders]:
        """Status and fields of a 1xx answer. Raises UpstreamBadAnswer, where there is no end."""
        self._interims += 1
        if self._interims > MAX_INTERIM:
            raise UpstreamBadAnswer("the backend sends 1xx answers without end")
        return status_and_fields(fields)

    def on_head(self, fields: AnswerSection) -> None:
        """The final head. Raises UpstreamBadAnswer."""
        self._head = ANSWER_SECTIONS.read(fields)

    def on_data(self, data: bytes) -> None:
        """A piece of the body."""
        self.unread += len(data)
        self._body.append(data)

    def on_end(self, trailers: Trailers = ()) -> None:
        """The answer is complete."""
        self._trailers, self.ended = trailers, True

    def reset_by(self, code: int, *, leaving: bool) -> UpstreamError:
        """Why the stream ended, should the answer not be whole; `leaving`: after a GOAWAY."""
        error: UpstreamError
        if code == ErrorCode.REFUSED_STREAM:  # the backend has not looked at it (RFC 9113 §8.7)
            error = UpstreamStale(request_sent=False) if leaving else UpstreamRefused()
        elif code == ErrorCode.PROTOCOL_ERROR and not self.begun:
            error = UpstreamBadAnswer("the backend's answer is not valid HTTP/2")
        else:
            name = ErrorCode(code).name if code in ErrorCode.__members__.values() else code
            error = UpstreamCut() if self.begun else UpstreamReset(f"the backend sent {name}")
        error.reset_code = code
        return error
