"""Heads of answers over HTTP/2 (RFC 9113 §8.3.2): read, and found again where they repeat.

Backends repeat their answers, services of gRPC most of all. Pure.
"""

from __future__ import annotations

from typing import TypeAlias

from ...errors import UpstreamBadAnswer
from ...fields.field_parts import size_of
from ...fields.headers import RawHeaders
from ...fields.known_fields import KnownFields
from ..framing import checked_length

AnswerSection: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""As the engine decodes it: `:status` and the fields."""
MOST, LARGEST = 512, 2048
"""Heads that are kept, and the size of one; then they are forgotten, all at once."""


def status_and_fields(section: AnswerSection) -> tuple[int, RawHeaders]:
    """An answer's `:status`, and its other fields. Raises UpstreamBadAnswer."""
    fields = []
    status = 0
    for item in section:
        if item[0] == b":status":
            status = int(item[1])
        elif item[0] == b"content-length":
            fields.append((item[0], checked_length(item[1])))
        else:
            fields.append(item)
    if status < 100:
        raise UpstreamBadAnswer(f"the backend's answer has an invalid status: {status}")
    return status, fields


class AnswerSections(dict[AnswerSection, tuple[int, KnownFields] | None]):
    """What was read of those that came more than once; None for one that came once."""

    def read(self, section: AnswerSection) -> tuple[int, RawHeaders]:
        """As `status_and_fields`. Most heads never come again: only the second time costs."""
        known = self.get(section)
        if known is not None:
            return known
        status, fields = status_and_fields(section)
        if section in self:
            self[section] = status, KnownFields(fields)
        elif size_of(section) <= LARGEST:
            if len(self) >= MOST:
                self.clear()
            self[section] = None
        return status, fields


ANSWER_SECTIONS = AnswerSections()
"""Of all backends: equal fields say the same."""
