"""Heads of answers that break the grammar and can still be read in one way only. Pure.

httptools refuses them. `mended` writes such a head as the grammar has it, or says what is
wrong with it. docs/answers.md lists both.
"""

from __future__ import annotations

import re

from ..errors import UpstreamBadAnswer
from ..fields.headers import RawHeaders
from .framing import FRAMING, MAX_HEAD, TOO_LARGE, checked_length, is_chunked

_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: .*)?", re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes({*range(1, 32), 127} - {9})  # NUL is never mended
_AS_SPACES = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))
_STRICT = FRAMING | {b"connection"}
"""Fields that say where the answer ends: a control character in them is not guessed at."""


def head_end(data: bytes) -> int:
    """The bytes of the head at the start of `data`, 0 while it is not complete.

    Raises UpstreamBadAnswer for one that is too large.
    """
    end = data.find(b"\r\n\r\n") + 4
    if (found := _END.search(data, 0, end if end > 3 else len(data))) is not None:
        end = found.end()
    if (end if end > 3 else len(data)) > MAX_HEAD:
        raise UpstreamBadAnswer(TOO_LARGE)
    return end if end > 3 else 0


def mended(head: bytes) -> bytes:
    """`head`, which ends with an empty line, in the grammar of RFC 9112.

    Raises UpstreamBadAnswer where it cannot be read, or in more than one way.

    >>> mended(b"HTTP/1.1 200 OK\\nX : a\\n b\\n\\n")
    b'HTTP/1.1 200 OK\\r\\nX: a b\\r\\n\\r\\n'
    """
    line, *lines = _lines(head)
    if not _STATUS_LINE.fullmatch(line):
        raise _bad(f"a malformed status line: {line[:30]!r}")
    fields: RawHeaders = []
    for text in lines:
        if not text.startswith((b" ", b"\t")):
            fields.append(_field(text))
        elif fields:  # folded (RFC 9112 §5.2)
            name, value = fields[-1]
            fields[-1] = (name, _value(name, value + b" " + text.lstrip(b" \t")))
        else:
            raise _bad("a folded line before its first field")
    return b"\r\n".join([line, *map(b": ".join, _framed(fields)), b"", b""])


def _bad(what: str) -> UpstreamBadAnswer:
    return UpstreamBadAnswer(f"the head of the backend's answer has {what}")


def _lines(head: bytes) -> list[bytes]:
    """The lines, all of which end in CRLF, or all in a bare LF (RFC 9112 §2.2).

    Where both occur, the bare one may be part of a value, put there by a third party.
    """
    ends = head.count(b"\r\n")
    if head.count(b"\n") == ends == head.count(b"\r"):
        return head[:-4].split(b"\r\n")
    if b"\r" not in head:
        return head[:-2].split(b"\n")
    raise _bad("a bare CR or LF")


def _field(text: bytes) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(b":")
    name = name.rstrip(b" \t")  # RFC 9112 §5.1
    if not colon or not _NAME.fullmatch(name):
        raise _bad(f"an invalid field name: {text[:30]!r}")
    return name, _value(name, value)


def _value(name: bytes, value: bytes) -> bytes:
    """A value without control characters: as spaces they do no harm (RFC 9110 §5.5)."""
    if b"\0" in value:
        raise _bad(f"NUL in a field: {name[:30]!r}")
    plain = value.translate(_AS_SPACES)
    if plain != value and name.lower() in _STRICT:
        raise _bad(f"a control character in a field that frames it: {name!r}")
    return plain.strip(b" \t")


def _framed(fields: RawHeaders) -> RawHeaders:
    """`fields` with one length, or one transfer coding, or neither (RFC 9110 §8.6)."""
    named = [(name.lower(), value) for name, value in fields]
    values = [value for name, value in named if name == b"content-length"]
    lengths = {checked_length(part.strip(b" \t")) for v in values for part in v.split(b",")}
    if len(lengths) > 1:
        raise _bad(f"different lengths: {values!r:.50}")
    once: dict[bytes, bytes] = {}
    if is_chunked(named):
        if lengths:
            raise _bad("both a length and a transfer coding")
        once[b"transfer-encoding"] = b"chunked"
    elif lengths:
        once[b"content-length"] = lengths.pop()
    kept = []
    for name, value in fields:
        if (lower := name.lower()) not in FRAMING:
            kept.append((name, value))
        elif lower in once:
            kept.append((name, once.pop(lower)))
    return kept
