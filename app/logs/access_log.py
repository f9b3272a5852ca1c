"""One request, one line: the record and its formats. Pure.

The default format is Hipache's, field by field (lib/accesslogger.js, 0.4),
with its faults mended: every request has a line, the address is the client's
true one, the year is UTC's, what a client sent can not break a line, and the
bytes are this answer's and not the connection's.

A format is compiled once, into one function of one expression, because it
runs for every request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from string import Formatter

from .access_fields import FUNCTIONS, NUMBER, WRITTEN

Format = Callable[["AccessRecord"], str]


@dataclass(slots=True)
class AccessRecord:
    """What one request came to. Durations are seconds; None or empty means there was none.

    Begin with `AccessRecord(start)` and set the rest as it becomes known: that
    costs a third of what fifteen keyword arguments cost.
    """

    start: float
    """Unix seconds."""
    client: str = ""
    """The client's address, by the rule of the trusted proxies."""
    method: str = ""
    target: bytes = b""
    """Path and query as they came."""
    http_version: str = "1.1"
    host: str = ""
    referer: bytes = b""
    user_agent: bytes = b""
    scheme: str = "http"
    tls: str = ""
    """The version, `TLSv1.3`."""
    request_id: str = ""
    worker: int = 0

    frontend: str = ""
    """The key that matched."""
    identifier: str = ""
    """Its first row, Hipache's virtual host."""
    backend: str = ""
    """The URL of the last attempt's backend."""
    attempts: int = 0
    retried_from: tuple[str, ...] = ()
    """The URLs of the backends that failed before."""

    status: int = 0
    bytes_in: int = 0
    """Of the request's body."""
    bytes_out: int = 0
    """Of the answer's body, as far as it was sent."""
    connect_time: float | None = None
    """None when the connection was there already."""
    head_time: float | None = None
    """Until the backend's head."""
    total_time: float = 0.0
    error: str = ""
    """Why it failed, or was cut."""

    messages_in: int | None = None
    """A WebSocket's messages from the client; None if this was none."""
    messages_out: int | None = None
    close_code: int | None = None
    closed_by: str = ""
    """`client`, `backend` or `proxy`."""

    def broke_off(self, status: int, cause: str) -> None:
        """It ended before its end: what is not known better is `status`, because of `cause`."""
        self.status = self.status or status
        self.error = self.error or cause


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
    literal brace is doubled. Values are escaped as nginx does. Nothing is
    written as `-`, or as nothing with `!e`: `{referer!e}`.

    Raises ValueError, whose text tells what is wrong with a template.
    """
    if text == "json":
        parts = [(f', "{name}": ', WRITTEN[name][1].format(name)) for name in FIELDS]
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
        raise ValueError(f"{{{name}}} takes nothing but !e behind it")
    code = WRITTEN[name][0].format(name)
    return code if conversion or WRITTEN[name] is NUMBER else f"({code}) or '-'"


def _compile(parts: list[tuple[str, str]]) -> Format:
    """One function of one expression; of the caller's text it holds nothing but string literals."""
    pattern = "".join(
        literal.replace("%", "%%") + ("%s" if code else "") for literal, code in parts
    )
    values = "".join(f"({code})," for _, code in parts if code)
    return eval(f"lambda r: {pattern!r} % ({values})", dict(FUNCTIONS))  # type: ignore[no-any-return]
