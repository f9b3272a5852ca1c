"""The fields of an answer over HTTP/2 (RFC 9113 §8.3.2): what ASGI gives in, the engine's out."""

from __future__ import annotations

from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING

from ...fields.headers import RawHeaders
from ...fields.known_fields import AnswerSection, PassingFields
from ...fields.trailers import takes_trailers
from ...grpc.own_answers import status_of_http, trailers_only
from ...grpc.statuses import grpc_type
from ...http2.field_rules import (
    CONNECTION_SPECIFIC,
    check_values,
    lower_name,
    passes_as_it_is,
    trailer_section,
)
from ..dates import date_of
from ..refusal import plain_body

if TYPE_CHECKING:
    from ..request_head import RequestHead

BARE = (204, 304)
"""The body of such an answer is empty, whatever length it tells."""
_READ = CONNECTION_SPECIFIC | {b"content-length", b"date"}

_status = [(b":status", b"%d" % status) for status in range(1000)]


def final_fields(
    status: int, headers: Iterable[tuple[bytes, bytes]], method: bytes
) -> tuple[RawHeaders, int]:
    """All fields of a final answer, which nobody may change, and the bytes of its body.

    These are -1 without a Content-Length. Raises RuntimeError for what cannot be sent.
    """
    section = None
    if isinstance(headers, PassingFields) and headers == (known := headers.known).passing:
        section = known.section  # nothing was added
        if section is None or section.status != status:
            section = known.section = _field_section(status, headers)
    if section is None:
        section = _field_section(status, headers)
    _, fields, length, dated = section
    if method == b"HEAD" or status in BARE:
        length = 0
    return (fields if dated else [*fields, (b"date", date_of(int(time())))]), length


def _field_section(status: int, headers: Iterable[tuple[bytes, bytes]]) -> AnswerSection:
    if not 200 <= status <= 999:
        raise RuntimeError(f"{status} is no final status")
    fields = [_status[status]]
    length = -1
    dated = False
    for item in headers:
        if passes_as_it_is[item[0]]:
            fields.append(item)
            continue
        name, value = lower_name(item[0]), item[1]
        if name in _READ:
            if name == b"date":
                dated = True
            elif name == b"content-length":
                if length >= 0 or not value.isdigit():
                    raise RuntimeError("malformed or repeated Content-Length")
                length = int(value)
            else:
                continue
        fields.append((name, value))
    check_values(fields)
    return AnswerSection(status, fields, length, dated)


def interim_fields(status: int, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """All fields of a 1xx answer. Raises RuntimeError as `final_fields` does."""
    named = [(lower_name(name), value) for name, value in headers]
    fields = [_status[status], *(field for field in named if field[0] not in CONNECTION_SPECIFIC)]
    check_values(fields)
    return fields


def trailer_fields(trailers: Iterable[tuple[bytes, bytes]], request: RequestHead) -> RawHeaders:
    """Those that the client gets, none if it does not take them. Raises RuntimeError."""
    return trailer_section(trailers) if takes_trailers(request.headers) else []


def refusal(request: RawHeaders, status: int, text: str) -> tuple[int, RawHeaders, bytes]:
    """Status, fields and body of the server's own answer: plain text, or gRPC's."""
    if (kind := grpc_type(request)) is not None:
        return 200, trailers_only(kind, status_of_http(status), text), b""
    body = plain_body(status, text)
    fields = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if status == 405:
        fields.append((b"allow", b"GET, HEAD"))
    return status, fields, body
