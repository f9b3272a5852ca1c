"""Heads of answers that have come before, whole and ordinary: nothing in them is parsed twice.

Backends repeat their answers; the date in them changes once a second.
"""

from __future__ import annotations

from typing import NamedTuple

from ..fields.headers import RawHeaders
from ..fields.known_fields import KnownFields

END = b"\r\n\r\n"
MAX_HEADS = 512
"""Heads that are kept; then they are forgotten, all at once."""
LONGEST_HEAD = 1024
SELDOM = 0b111000
"""Bits of the number of new heads in a row: where one is set, nobody looks for the next.
So a backend whose answers all differ pays for 8 looks at 64 of them."""
SMALL = 16384
"""Bytes of a read in which a known head is looked for: the body behind it is copied."""


class KnownHead(NamedTuple):
    """What is known of an answer to any request but HEAD, whose connection is kept."""

    status: int
    reason: bytes
    headers: KnownFields
    length: int
    """Of its body."""


class KnownHeads(dict[bytes, KnownHead | None]):
    """By the bytes of the head, without the two CRLFs at its end; None for one that came once."""

    def learn(
        self, head: bytes, status: int, reason: bytes, headers: RawHeaders, length: int
    ) -> None:
        """Note an answer. Most heads never come again: only the second time costs something."""
        if head in self:
            self[head] = KnownHead(status, reason, KnownFields(headers), length)
        elif len(head) <= LONGEST_HEAD:
            if len(self) >= MAX_HEADS:
                self.clear()
            self[head] = None


KNOWN_HEADS = KnownHeads()
"""Of all backends: equal bytes say the same."""
