"""What a client's requests on one connection of HTTP/2 repeat of their heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..repetition import Repetition
from ..request_head import RequestHead
from ..request_target import TARGET
from .request_pseudo_fields import LINE_OVERHEAD, VERSION, FieldSection, read_head

if TYPE_CHECKING:
    from ..edge import ClientLimits

LARGEST = 4096
"""Bytes of a head, as the limit counts them, above which nothing is kept of it."""
_SLASH = 0x2F


class RepeatedSection:
    """The head that came last: the next one is often the same but for its path.

    To find it again costs a fifth of looking its parts up among those of all connections.
    """

    __slots__ = (
        "_at", "_before", "_behind", "_count", "_ended", "_headers", "_longest", "_repetition",
        "_request", "_size",
    )  # fmt: skip

    def __init__(self) -> None:
        self._count = 0  # of its fields; 0 while there is none
        self._at = 0  # where `:path` stands; before and behind it are the other fields
        self._before: FieldSection = ()
        self._behind: FieldSection = ()
        self._ended = True
        self._request: RequestHead | None = None
        self._headers = [(b"", b"")]  # its own: those who serve a request may change its fields
        self._repetition: Repetition | None = None  # once one has come again
        self._size = 0  # without the path
        self._longest = 0  # bytes that a path may have

    def read(
        self, fields: FieldSection, limits: ClientLimits, *, ended: bool
    ) -> tuple[RequestHead, int]:
        """As `read_head`. Raises Refusal."""
        known, at = self._request, self._at
        if (
            known is None
            or len(fields) != self._count
            or ended is not self._ended
            or fields[:at] != self._before
            or fields[at + 1 :] != self._behind
        ):
            return self._read(fields, limits, ended=ended)
        name, target = fields[at]
        if name != b":path" or (target != known.target and not self._may_be(target)):
            return self._read(fields, limits, ended=ended)
        if self._repetition is None:
            self._repetition = Repetition(self._headers)
        request = RequestHead(
            known.method, target, VERSION, self._headers.copy(), True,
            known.length, known.expects_continue, known.upgrade, known.asks_debug,
            self._repetition,
        )  # fmt: skip
        return request, self._size + len(target)

    def _may_be(self, target: bytes) -> bool:
        """Whether it is a legal path that is not too long."""
        if not 0 < len(target) <= self._longest:
            return False
        return target[0] == _SLASH and not target.translate(None, TARGET)

    def _read(
        self, fields: FieldSection, limits: ClientLimits, *, ended: bool
    ) -> tuple[RequestHead, int]:
        """Read a head, and keep it."""
        self._request = self._repetition = None
        request, size = read_head(fields, limits, ended=ended)
        if size <= LARGEST and not request.upgrade:  # which is another request than it says
            at = self._at = fields.index((b":path", request.target))
            self._count, self._before, self._behind = len(fields), fields[:at], fields[at + 1 :]
            self._ended = ended
            self._headers = request.headers.copy()
            self._request = request
            self._size = size - len(request.target)
            self._longest = min(
                limits.request_line - len(request.method) - LINE_OVERHEAD, limits.head - self._size
            )
        return request, size
