"""What a backend's 101 must hold before a client is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response

from ..errors import UpstreamBadAnswer
from ..fields.headers import RawHeaders
from ..routing import Backend
from ..upstream.protocol_upgrades import UpgradeAnswer

Ask = Callable[[Backend, bytes, RawHeaders], Awaitable[UpgradeAnswer]]
"""Asks a backend for a WebSocket at a target, with these fields. Raises UpstreamError."""


async def checked(
    ask: Ask, backend: Backend, *, target: bytes, headers: RawHeaders, checker: ClientProtocol
) -> UpgradeAnswer:
    """The answer to `ask`; a 101 agrees with `checker`, all else is a refusal.

    Raises UpstreamError, UpstreamBadAnswer for a 101 that no client would take.
    """
    answer = await ask(backend, target, headers)
    if answer.status == 101:
        try:
            _check(checker, answer.headers)
        except BaseException:
            answer.abandon()
            raise
    return answer


def _check(checker: ClientProtocol, headers: RawHeaders) -> None:
    fields = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    try:
        checker.process_response(Response(101, "", fields))
    except InvalidHandshake as exc:
        raise UpstreamBadAnswer(f"WebSocket handshake: {exc}") from exc
