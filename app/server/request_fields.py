"""Field lines, of a head or of trailers: bytes in, checked pairs out."""

from __future__ import annotations

from ..fields.headers import RawHeaders
from ..fields.names import CONTROLS, TOKEN
from ..fields.remembering import remembering
from .refusal import Refusal

REMEMBERED_LINE = 128
"""Bytes; longer lines are mostly cookies and referrers, which do not come twice."""


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Name, lower-case, and value without the white space around it. Raises Refusal 400.

    An obs-fold begins with white space, and white space before the colon would end
    the name: neither name is a token (RFC 9112 §5.1, §5.2). RFC 9110 §5.5 says what
    a value may not hold; any CR or LF left in it is a bare one.
    """
    name, colon, value = line.partition(b":")
    if not colon:
        raise Refusal(400, "header field without a colon")
    if not name or name.translate(None, TOKEN):
        raise Refusal(400, "malformed header field name")
    value = value.strip(b" \t")
    if len(value.translate(None, CONTROLS)) != len(value):
        raise Refusal(400, "control character in a header field")
    return name.lower(), value


# Clients repeat their fields: a hit costs a fifth of parsing the line.
_remembered = remembering(2048, longest=REMEMBERED_LINE)(parse_field)


def parse_fields(lines: list[bytes]) -> RawHeaders:
    """Every line as a pair, in order. Raises Refusal 400."""
    return [*map(_remembered, lines)]
