"""The record of what the server refused before it was a request, for the access log."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from time import time

from ..logs.record import AccessRecord, HeadRecord
from .peer import Peer
from .refusal import Refusal
from .request_head import parse_request_line

_HOST_LINE = re.compile(rb"\n[Hh]ost:[ \t]*([^\r\n]{1,255})")


def recording(report: Callable[[AccessRecord], None]) -> Callable[[Peer, bytes, Refusal], None]:
    """For `Edge.on_refusal`: calls `report` with the record of each refusal."""

    def on_refusal(peer: Peer, head: bytes, refusal: Refusal) -> None:
        report(refused_record(peer, head, refusal))

    return on_refusal


def refused_record(peer: Peer, head: bytes, refusal: Refusal) -> AccessRecord:
    """What can be read of `head`, as far as it came, and how it was answered."""
    record = AccessRecord(time())
    read = record.head = HeadRecord(peer.address, scheme=peer.scheme, tls=peer.tls)
    with suppress(Refusal):  # there may be no request line
        line = head.partition(b"\r\n")[0]
        if http2 := line.endswith(b" HTTP/2"):  # so our HTTP/2 names its requests
            line = line.removesuffix(b"2") + b"1.1"
        method, record.target, version = parse_request_line(line)
        read.http_version = "2" if http2 else version
        read.method = method.decode("ascii")
    if found := _HOST_LINE.search(head):
        read.host = found[1].decode("latin-1")
    record.status, record.error = refusal.status, refusal.reason
    record.bytes_out = 0 if head.startswith(b"HEAD ") else len(refusal.body)
    return record
