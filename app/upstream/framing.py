"""What an answer's head says about its body, and what no head may say. Pure.

httptools (llhttp 9) checks the grammar, but lets pass more than a proxy may
pass on. What it accepts and we do not:

    accepted by llhttp                            here
    RTSP/1.0, ICE/1.0, HTTP/0.9, HTTP/2.0         refused
    an empty line before the status line          refused
    status 000-099                                refused (RFC 9110 §15)
    control bytes in the reason phrase            refused
    Transfer-Encoding: gzip, chunked              refused: we decode chunked only
    ... gzip; chunked, identity                   refused: read to the end otherwise
    ... in HTTP/1.0                               refused (RFC 9112 §6.1)
    Content-Length in an answer without a body    ignored (RFC 9112 §6.3)
    ... with zeros in front                       passed on without them
    ... of more than 18 digits                    refused: parsers behind us overflow
    a head or trailers of any size                MAX_HEAD
    any number of 1xx                             MAX_INTERIM
    101 with or without Upgrade                   refused where nobody asked for it
    a length or a transfer coding in a 101        dropped (RFC 9110 §8.6, RFC 9112 §6.1)

What it refuses by itself is mended where it can be read in one way only
(app.upstream.mending). tests/upstream/test_answers.py holds all of it.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from ..errors import UpstreamBadAnswer
from ..fields.headers import RawHeaders, plain_length

MAX_HEAD = 65536
"""Bytes of one head, of all trailers, and between two pieces of a chunked body."""

MAX_INTERIM = 16
"""1xx answers before the final one."""

SHORTEST_START = 10
"""Bytes that tell the version and the first digit of the status."""

UNTIL_LAST_CHUNK, UNTIL_CLOSE = -1, -2
"""What `body_length` returns where there is no length."""

TOO_LARGE = "the head of the backend's answer is too large"

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
REASONS = frozenset(status.phrase.encode() for status in HTTPStatus) | {b""}
_PRINTABLE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def may_begin_answer(start: bytes) -> bool:
    """Whether these can be the first bytes of an HTTP/1 answer."""
    return start[:9] in {b"HTTP/1.1 "[: len(start)], b"HTTP/1.0 "[: len(start)]}


def check_start(start: bytes) -> None:
    """Refuse what cannot begin an HTTP/1 answer."""
    if not may_begin_answer(start):
        raise UpstreamBadAnswer(f"the backend's answer has no HTTP/1 status line: {start[:20]!r}")


def check_status(status: int, reason: bytes) -> None:
    """Refuse what is no status, and a phrase that cannot be printed.

    600-999 are passed on: HTTP does not define them, but every client can read them.
    """
    if not 100 <= status <= 999:
        raise UpstreamBadAnswer(f"the backend's answer has an invalid status: {status}")
    if reason not in REASONS and not _PRINTABLE.fullmatch(reason):
        raise UpstreamBadAnswer("the backend's answer has control bytes in its status line")


def size(headers: RawHeaders) -> int:
    """Bytes of the fields, but for the white space that the parser has dropped."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def body_length(status: int, headers: RawHeaders, *, to_head: bool, http10: bool) -> int:
    """Bytes of the body that follows, or UNTIL_LAST_CHUNK or UNTIL_CLOSE (RFC 9112 §6.3).

    `to_head`: the request was HEAD. Raises UpstreamBadAnswer for a transfer
    coding that we cannot remove.
    """
    fields = dict(headers)
    chunked = False
    if b"transfer-encoding" in fields:
        chunked = is_chunked(headers)
        if http10:
            raise UpstreamBadAnswer("the backend used a transfer coding in HTTP/1.0")
    if to_head or status in (204, 304):
        return 0
    if chunked:
        return UNTIL_LAST_CHUNK
    length = fields.get(b"content-length")
    return UNTIL_CLOSE if length is None else int(length)


def is_chunked(headers: RawHeaders) -> bool:
    """Whether the fields announce chunks. Raises UpstreamBadAnswer for any other coding.

    `chunked` that is named twice was applied once: RFC 9112 §6.1 allows no more. `identity`
    was the name for no coding (RFC 2616 §3.6).

    >>> is_chunked([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"Chunked")])
    True
    """
    values = [value for name, value in headers if name == b"transfer-encoding"]
    codings = {part.strip(b" \t").lower() for value in values for part in value.split(b",")}
    if not codings <= {b"chunked"} and codings != {b"identity"}:
        raise UpstreamBadAnswer(f"the backend used a transfer coding we do not: {values!r:.50}")
    return b"chunked" in codings


def checked_length(value: bytes) -> bytes:
    """A backend's Content-Length as `headers.plain_length` has it. Raises UpstreamBadAnswer."""
    plain = plain_length(value)
    if plain is None:
        raise UpstreamBadAnswer(f"the backend's answer has an invalid length: {value[:30]!r}")
    return plain


def asks_to_close(headers: RawHeaders, *, http10: bool) -> bool:
    """Whether the connection ends with this answer (RFC 9112 §9.3)."""
    options = b",".join(value for name, value in headers if name == b"connection").lower()
    tokens = {option.strip(b" \t") for option in options.split(b",")}
    return b"close" in tokens or (http10 and b"keep-alive" not in tokens)
