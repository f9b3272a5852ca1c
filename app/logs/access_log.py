"""The formats of the access log: one request, one line. Pure.

The default format is Hipache's, field by field (lib/accesslogger.js, 0.4),
with its faults mended: every request has a line, the address is the client's
true one, the year is UTC's, nothing a client sends can break a line, and the
bytes are this answer's, not the connection's.

A format is compiled once, into one function of one expression, because it
runs for every request. What follows from a head alone is written once for all
requests that repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from itertools import groupby
from string import Formatter
from typing import NamedTuple

from .access_fields import NAMES, NUMBER, REQUEST, REQUEST_PARTS, WRITTEN, is_of_head, place
from .record import AccessRecord

Format = Callable[[AccessRecord], str]


FIELDS = tuple(WRITTEN)
"""The keys of the JSON format, in its order; a template may name these and `request`."""
COMBINED = '{client} - - [{time}] "{request}" {status} {bytes_out} "{referer}" "{user_agent}"'
"""nginx's format of that name."""
HIPACHE = (
    '{client} - - [{time}] "{request}" {status} {bytes_out} "{referer!e}" "{user_agent!e}"'
    ' "{identifier!e}" {total_time} {head_time}'
)


def compile_format(text: str) -> Format:
    """The function that writes a record by `text`: `hipache`, `combined`, `json` or a template.

    A template names fields in braces, `{client} {status} {total_time}`, and a
    literal brace is doubled. Values are escaped as nginx does. A missing
    value is written as `-`, or as nothing with `!e`: `{referer!e}`.

    Raises ValueError, whose text says what is wrong with a template.
    """
    if text == "json":
        parts = [
            _Part(f', "{name}": ', WRITTEN[name][1].format(place(name)), is_of_head(name))
            for name in FIELDS
        ]
        return _compile([parts[0]._replace(literal="{" + parts[0].literal[2:]), *parts[1:], _END])
    return _compile(_parts({"hipache": HIPACHE, "combined": COMBINED}.get(text, text)))


class _Part(NamedTuple):
    literal: str
    code: str = ""
    """The expression that follows it."""
    of_head: bool = False
    """Whether that is the same for all requests that repeat a head."""


_END = _Part("}")


def _parts(template: str) -> list[_Part]:
    if not template.isprintable():
        raise ValueError("a template must fit in one line")
    parts: list[_Part] = []
    for literal, name, spec, conversion in Formatter().parse(template):
        codes = [] if name is None else _expressions(name, spec or "", conversion)
        first = _Part(literal, *codes[0]) if codes else _Part(literal)
        parts += [first, *(_Part("", *code) for code in codes[1:])]
    if not any(part.code for part in parts):
        raise ValueError("expected hipache, combined, json or a template such as {client} {status}")
    return parts


def _expressions(name: str, spec: str, conversion: str | None) -> list[tuple[str, bool]]:
    """Expressions, and whether each is of the head."""
    if name != REQUEST and name not in WRITTEN:
        near = get_close_matches(name, (*WRITTEN, REQUEST), n=1)
        raise ValueError(
            f"unknown field {{{name}}}" + (f"; did you mean {{{near[0]}}}?" if near else "")
        )
    if spec or conversion not in (None, "e"):
        raise ValueError(f"{{{name}}} allows only !e after it")
    dash = "" if conversion or WRITTEN.get(name) is NUMBER else " or '-'"
    if name == REQUEST:
        start, target, version = REQUEST_PARTS
        return [(f"({start}){dash}", True), (target, False), (version, True)]
    return [(f"({WRITTEN[name][0].format(place(name))}){dash}", is_of_head(name))]


def _compile(parts: list[_Part]) -> Format:
    """One function of one expression; the caller's text enters it only as string literals."""
    pieces: list[tuple[bool, str, str]] = []  # whether it is each request's own, pattern, code
    for part in parts:
        pieces.append((False, part.literal.replace("%", "%%"), ""))
        if part.code:
            pieces.append((not part.of_head, "%s", part.code))
    pattern, values, texts = "", list[str](), list[str]()
    for own, group in groupby(pieces, key=lambda piece: piece[0]):
        run = [*group]
        run_pattern, codes = "".join(p for _, p, _ in run), [code for *_, code in run if code]
        if own or not codes:
            pattern += run_pattern
            values += codes
        else:
            pattern += "%s"
            texts.append(f"{run_pattern!r} % {_tuple(codes)}")
            values.append(f"t[{len(texts)}]" if len(texts) > 1 else _TEXTS)
    names: dict[str, object] = dict(NAMES)
    of_head = eval(f"lambda r: {_tuple(texts)}", names)

    def prepare(record: AccessRecord) -> tuple[object, ...]:
        made = record.head.texts = (of_head, *of_head(record))
        return made

    names |= {"of_head": of_head, "prepare": prepare}
    return eval(f"lambda r: {pattern!r} % {_tuple(values)}", names)  # type: ignore[no-any-return]


_TEXTS = "(t := r.head.texts if r.head.texts[0] is of_head else prepare(r))[1]"
"""The first text of the head; `t` has the others."""


def _tuple(codes: list[str]) -> str:
    return f"({''.join(f'({code}),' for code in codes)})"
