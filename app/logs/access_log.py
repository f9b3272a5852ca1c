"""The formats of the access log: one request, one line. Pure.

The default format is Hipache's, field by field (lib/accesslogger.js, 0.4),
with its faults mended: every request has a line, the address is the client's
true one, the year is UTC's, nothing a client sends can break a line, and the
bytes are this answer's, not the connection's.

A format is compiled once, into one function of one expression, because it
runs for every request.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from string import Formatter

from .access_fields import NAMES, NUMBER, WRITTEN, place
from .record import AccessRecord

Format = Callable[[AccessRecord], str]


FIELDS = tuple(name for name, (_, as_json) in WRITTEN.items() if as_json)
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
        parts = [(f', "{name}": ', WRITTEN[name][1].format(place(name))) for name in FIELDS]
        return _compile([("{" + parts[0][0][2:], parts[0][1]), *parts[1:], ("}", "")])
    return _compile(_parts({"hipache": HIPACHE, "combined": COMBINED}.get(text, text)))


def _parts(template: str) -> list[tuple[str, str]]:
    """A template as pairs of literal text and the expression that follows it."""
    if not template.isprintable():
        raise ValueError("a template must fit in one line")
    parts = [
        (literal, "" if name is None else _expression(name, spec or "", conversion))
        for literal, name, spec, conversion in Formatter().parse(template)
    ]
    if not any(expression for _, expression in parts):
        raise ValueError("expected hipache, combined, json or a template such as {client} {status}")
    return parts


def _expression(name: str, spec: str, conversion: str | None) -> str:
    if name not in WRITTEN:
        near = get_close_matches(name, WRITTEN, n=1)
        raise ValueError(
            f"unknown field {{{name}}}" + (f"; did you mean {{{near[0]}}}?" if near else "")
        )
    if spec or conversion not in (None, "e"):
        raise ValueError(f"{{{name}}} allows only !e after it")
    code = WRITTEN[name][0].format(place(name))
    return code if conversion or WRITTEN[name] is NUMBER else f"({code}) or '-'"


def _compile(parts: list[tuple[str, str]]) -> Format:
    """One function of one expression; the caller's text enters it only as string literals."""
    pattern = "".join(
        literal.replace("%", "%%") + ("%s" if code else "") for literal, code in parts
    )
    values = "".join(f"({code})," for _, code in parts if code)
    return eval(f"lambda r: {pattern!r} % ({values})", dict(NAMES))  # type: ignore[no-any-return]
