"""Any request and any template: one printable line each, and JSON that says what was there."""

from __future__ import annotations

import json
from functools import lru_cache

from app.logs.access_log import COMBINED, HIPACHE, Format, compile_format
from app.logs.record import AccessRecord, HeadRecord
from tests.fuzz.world import Finding

SEEDS = [
    b"GET\0/a?b=c\0a.test\0http://r/\0curl/7\0site\0cut\0{client} {request} {status}",
    b'M\0/"x\0[::1]\0\x1b[31m\0a\\x22\0\xc3\xa9\xe2\x80\xa8\0%s\r\nforged\0{target!e}{{%s}}',
    b"\0\0\0\0\0\0\0" + COMBINED.encode(),
    b"P\0/\xff\xfe\0h\0r\0u\0i\0e\0" + HIPACHE.encode(),
    b"GET\0/\0h\0\0\0\0\0{host.__class__}",
    b"GET\0/\0h\0\0\0\0\0{status:>10}{total_time!r}",
]
TOKENS = [
    b"\0", b"\r\n", b'"', b"\\", b"%", b"%s", b"%(", b"{", b"}", b"{{", b"}}", b"!e", b"!r", b":",
    b"{client}", b"{status}", b"{error}", b"\xe2\x80\xa8", b"\xff", b"'", b"\\N{DIGIT ONE}",
    b"{retried_from}", b"{connect_time}", b"__import__('os')",
]  # fmt: skip
FORMATS = [compile_format(name) for name in ("hipache", "combined")]
AS_JSON = compile_format("json")


@lru_cache(maxsize=100)
def template(text: str) -> Format | None:
    try:
        return compile_format(text)
    except ValueError as exc:
        if not str(exc).isprintable():
            raise Finding(f"not one printable line: {exc!s}") from None
        return None


def check(data: bytes) -> None:
    parts = [*data.split(b"\0"), *[b""] * 8][:8]
    made = record(parts, len(data))
    formats = [*FORMATS, template(parts[7].decode("utf-8", "replace"))]
    for write in formats:
        line = "" if write is None else write(made)
        if not line.isprintable() or (write in FORMATS and not line.isascii()):
            raise Finding(f"not one printable line: {line!r}")
    if FORMATS[0](made).count('"') != 8:
        raise Finding(f"fields run into each other: {FORMATS[0](made)!r}")
    line = AS_JSON(made)
    if (
        json.loads(line)["method"] != (made.head.method or None)
        or not line.isascii()
        or "\n" in line
    ):
        raise Finding(f"not the record: {line!r}")


def record(parts: list[bytes], number: int) -> AccessRecord:
    """The parts as whatever a client, a store and a backend may have said."""
    head = HeadRecord("192.0.2.1", parts[0].decode("latin-1"), host=_text(parts[2]))
    made = AccessRecord(1764044849.0 + number, head, parts[1])
    head.referer, head.user_agent, made.identifier = parts[3], parts[4], _text(parts[5])
    made.error = _text(parts[6])
    made.frontend, made.backend, made.retried_from = _text(parts[5]), _text(parts[6]), (head.host,)
    made.status, made.bytes_out, made.total_time = 200 + number % 300, number, number / 1000
    made.request_id = _text(parts[2])
    if number % 2:
        made.connect_time = made.head_time = number / 1e6
        made.close_code, made.closed_by, made.messages_in = 1000, "client", number
    return made


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if len(value) % 2 else value.decode("latin-1")
