"""An answer's body, held to the length that its head has told (RFC 9110 §8.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .request_head import RequestHead


class MeasuredAnswer:
    """The part of a stream that is the same for every version of HTTP."""

    __slots__ = ("_left", "_request")

    _request: RequestHead
    _left: int
    """Bytes of Content-Length still to send; -1 without one."""

    def _measured(self, body: bytes, more: bool) -> bytes:
        """Check the body against Content-Length; drop it in an answer to HEAD."""
        left = self._left - len(body)
        if left < 0:
            if self._request.method == b"HEAD":
                return b""
            raise RuntimeError("the response is longer than its Content-Length")
        if left and not more:
            raise RuntimeError("the response is shorter than its Content-Length")
        self._left = left
        return body
