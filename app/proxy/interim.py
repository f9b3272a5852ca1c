"""A backend's 1xx answers on their way to the client (RFC 9110 §15.2)."""

from __future__ import annotations

from ..fields.headers import RawHeaders, response_headers
from ..server.exchange import Exchange

CONTINUE_AFTER = 1.0
"""Seconds that a backend has to answer `Expect: 100-continue`; then the proxy asks for the body."""


def pass_interim(exchange: Exchange, status: int, headers: RawHeaders) -> None:
    """Send it on, without a length: it has no body. A 100 is for a client that waits for it."""
    stream = exchange.stream
    if exchange.disconnected or stream.started:
        return
    if status != 100:
        fields = response_headers(headers, status)
        stream.send_interim(status, [field for field in fields if field[0] != b"content-length"])
    elif stream.expects_continue:
        stream.send_continue()
