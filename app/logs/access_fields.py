"""How each field of an access record is written, in a line of text and in JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as json_string
from math import floor  # half the price of int

from ..fields.remembering import remembering
from .record import HeadRecord
from .syslog import MONTHS

# How a field is written in a line of text, and in JSON: expressions over `r`, the record, and
# NAMES below. Calls make up the cost of a line, so the frequent ones are written out here.
_BYTES = (
    "escape_cached(r.{0}) if len(r.{0}) <= CACHED else escape(r.{0})",
    "json_bytes(r.{0})",
)
_TEXT = ("escape_text(r.{0})", "json_string(r.{0}) if r.{0} else 'null'")
_SHORT = ("escape_short(r.{0})", _TEXT[1])  # its length is not the client's choice
NUMBER = ("r.{0}", "r.{0}")
_MAYBE = ("'' if r.{0} is None else str(r.{0})", "'null' if r.{0} is None else r.{0}")
_SECONDS = (
    "'' if r.{0} is None else seconds(floor(r.{0} * 1000 + 0.5))",
    "'null' if r.{0} is None else f'{{r.{0}:.6f}}'",
)

WRITTEN = {
    "time": ("clf_time(floor(r.start))", "json_time(r.start)"),
    "request_id": _TEXT,
    "client": _SHORT,
    "host": _TEXT,
    "method": _TEXT,
    "target": _BYTES,
    "http_version": _SHORT,
    "scheme": _SHORT,
    "tls": _SHORT,
    "frontend": _SHORT,
    "identifier": _SHORT,
    "backend": _SHORT,
    "attempts": NUMBER,
    "retried_from": ("escape_text(' '.join(r.{0}))", "json_list(r.{0})"),
    "status": NUMBER,
    "bytes_in": NUMBER,
    "bytes_out": NUMBER,
    "connect_time": _SECONDS,
    "head_time": _SECONDS,
    "total_time": _SECONDS,
    "error": _TEXT,
    "referer": _BYTES,
    "user_agent": _BYTES,
    "worker": NUMBER,
    "grpc_status": _MAYBE,
    "messages_in": _MAYBE,
    "messages_out": _MAYBE,
    "close_code": _MAYBE,
    "closed_by": _SHORT,
}
"""Field -> its expressions for text and for JSON."""
REQUEST = "request"
"""One more field of a line of text: the request line, empty if none could be read."""
REQUEST_PARTS = (
    "r.head.method and escape_text(r.head.method) + ' '",
    f"r.head.method and ({_BYTES[0].format('target')})",
    "r.head.method and f' HTTP/{escape_version(r.head.http_version)}'",
)
"""Its expressions. All but the second follow from the head alone, without its target."""


def is_of_head(field: str) -> bool:
    """Whether all requests that repeat a head have the field alike."""
    return field in HeadRecord.__slots__


def place(field: str) -> str:
    """Where a record has the field.

    >>> place("host"), place("status")
    ('head.host', 'status')
    """
    return f"head.{field}" if is_of_head(field) else field


# What nginx escapes in its logs: control bytes, what is not ASCII, and what ends a quoted field.
_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")


def escape(value: bytes) -> str:
    r"""A value for a line of text: unsafe bytes as `\xHH`.

    >>> escape(b'a"b\n')
    'a\\x22b\\x0A'
    """
    return _UNSAFE.sub(lambda found: b"\\x%02X" % ord(found[0]), value).decode("ascii")


def escape_text(value: str) -> str:
    return escape_short(value) if len(value) <= CACHED else escape(value.encode("utf-8", "replace"))


# User agents and hosts repeat. The limits bound the memory to about 1 MB.
CACHED = 200
escape_cached = remembering(1024)(escape)


@remembering(1024)
def escape_short(value: str) -> str:
    return escape(value.encode("utf-8", "replace"))


def escape_version(value: str) -> str:
    """The version in a request line, which nginx writes as `2.0`."""
    return "2.0" if value == "2" else escape_short(value)


@remembering(4096)
def seconds(milliseconds: int) -> str:
    """Seconds without padding, as JavaScript wrote them: `0.011`, `0.1`, `1`."""
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")


@remembering(64)
def clf_time(second: int) -> str:
    """The common log format's, in UTC. Not strftime: that would follow the locale."""
    at = datetime.fromtimestamp(second, UTC)
    return f"{at.day:02}/{MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000"


@remembering(64)
def _rfc3339(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def json_time(start: float) -> str:
    return f'"{_rfc3339(int(start))}.{int(start % 1 * 1000):03}Z"'


def json_bytes(value: bytes) -> str:
    return _json_cached(value) if len(value) <= CACHED else _json(value)


def _json(value: bytes) -> str:
    return json_string(value.decode("utf-8", "backslashreplace")) if value else "null"


_json_cached = remembering(1024)(_json)


def json_list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(json_string, values))}]" if values else "[]"


NAMES: dict[str, Callable[..., str | int] | int] = {
    "CACHED": CACHED,
    "clf_time": clf_time,
    "escape": escape,
    "escape_cached": escape_cached,
    "escape_short": escape_short,
    "escape_text": escape_text,
    "escape_version": escape_version,
    "floor": floor,
    "json_bytes": json_bytes,
    "json_list": json_list,
    "json_string": json_string,
    "json_time": json_time,
    "seconds": seconds,
}
"""What the expressions may name."""
