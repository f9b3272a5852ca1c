"""A handshake that ends with an ordinary answer, as ASGI's WebSocket Denial Response has it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Message, Send

from ..fields.headers import RawHeaders
from ..logs.record import AccessRecord
from ..proxy.own_responses import OwnResponse
from ..proxy.request import Request
from ..upstream.answer import Answer

MAX_BODY = 2**24
"""Bytes of a backend's refusal that are passed on at most: it is a page, and no download."""

MAX_TIME = 60.0
"""Seconds that passing a refusal on takes at most, be the backend slow or the client."""


class RefusalTooLong(Exception):
    """A refusal was cut at one of the limits above.

    That does not count against the backend: a client may ask for a WebSocket where a long
    download is, or read slowly.
    """


async def send_head(
    send: Send,
    extensions: Mapping[str, object],
    status: int,
    headers: RawHeaders,
    reason: bytes = b"",
) -> bool:
    """Send the head; False where the server cannot (ASGI makes its close a 403 then)."""
    if "websocket.http.response" not in extensions:
        await send({"type": "websocket.close", "code": 1000})
        return False
    await send({
        "type": "websocket.http.response.start",
        "status": status,
        "headers": headers,
        "reason": reason,
    })  # fmt: skip
    return True


async def respond(request: Request, response: OwnResponse, send: Send) -> None:
    """Send an answer of the proxy's own, as over HTTP."""
    status, headers, body = response
    try:
        if await send_head(send, request.extensions, status, headers):
            await send(_body(body))
    except OSError:
        request.client_left = True


async def pass_body(send: Send, refusal: Answer, record: AccessRecord) -> None:
    """Pass a refusal's body on at the client's pace; little of it is ever held.

    Raises RefusalTooLong, and UpstreamError where the backend breaks off. What the client has
    got lacks its end then, and the caller leaves it so.
    """
    try:
        async with asyncio.timeout(MAX_TIME):
            async for data in refusal:
                if record.bytes_out + len(data) > MAX_BODY:
                    raise RefusalTooLong("the backend's refusal is too large")
                record.bytes_out += len(data)
                await send(_body(data, more=True))
    except TimeoutError:
        raise RefusalTooLong("the backend's refusal takes too long") from None
    await send(_body(b""))


def _body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}
