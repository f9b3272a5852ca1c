"""One WebSocket from its handshake to its last byte: the order of events, no rules.

The backend is reached before the client is accepted: what it chose or refused
reaches the client as it is. Then either a tunnel carries the bytes (under our
own protocol class) or a relay the messages (under any ASGI server).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from app.config import ServerConfig
from app.errors import ProxyError, UpstreamError
from app.gateway import Attempt, Gateway, Request
from app.headers import RawHeaders, request_headers, response_headers
from app.server.tunnel import Tunnel
from app.server.websocket_protocol import TUNNEL
from app.upstream.websocket import Dial, Refusal, Switched, switch
from app.upstream.websocket_offer import SWITCH, RelayOffer, TunnelOffer, without_handshake
from app.upstream.websocket_relay import RelayLeg
from app.websocket_relay import Relay

Answer = Switched | Refusal

LAST_WORDS = 0.5
"""Seconds that live sessions have to end when the worker's grace is over."""

SERVICE_RESTART = (1012, "service restart")


class ClientLeft(Exception):
    """The client went away before its handshake was answered."""


class WebSocketProxy:
    """The ASGI endpoint of one worker's WebSockets."""

    def __init__(self, gateway: Gateway, dial: Dial, config: ServerConfig) -> None:
        self._gateway = gateway
        self._dial = dial
        self._config = config
        self._live: set[Tunnel | Relay] = set()

    async def aclose(self) -> None:
        """Say 1012 to every live session and wait, a second at most, until all are gone."""
        for session in tuple(self._live):
            session.close(*SERVICE_RESTART)
        if self._live:
            await asyncio.wait({session.ended for session in self._live}, timeout=LAST_WORDS)
        for session in tuple(self._live):
            session.abort()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        request = self._gateway.begin(scope)
        client = asyncio.ensure_future(receive())  # that the client left, or its first message
        try:
            await self._serve(request, client, receive, send)
        except ProxyError as error:
            await self._explain(request, error, send)
        except ClientLeft:
            request.client_left = True
        finally:
            client.cancel()
            self._gateway.end(request)

    async def _explain(self, request: Request, error: ProxyError, send: Send) -> None:
        """Our own page, as HTTP has it."""
        headers, body = self._gateway.error_page(request, error)
        record = request.record
        record.status, record.error, record.bytes_out = error.status, str(error), len(body)
        try:
            if await _begin_refusal(send, request.scope, error.status, headers):
                await send(_body(body))
        except OSError:
            request.client_left = True

    async def _serve(
        self, request: Request, client: asyncio.Future[Message], receive: Receive, send: Send
    ) -> None:
        config, extensions = self._config, request.scope.get("extensions") or {}
        offer: TunnelOffer | RelayOffer
        if TUNNEL in extensions and not config.web_socket_relay:
            offer = TunnelOffer(request.headers)
        else:
            offer = RelayOffer(
                request.headers,
                compression=config.web_socket_compression,
                max_message=config.web_socket_max_message,
            )
        attempt = await self._while_there(client, request, offer)
        backend = attempt.answer
        try:
            headers = response_headers(backend.headers, backend.status)
            self._gateway.answered(request, attempt, backend.status, headers)
            if isinstance(backend, Refusal):
                await self._pass_refusal(request, attempt, headers, send)
            elif isinstance(offer, TunnelOffer):
                client.cancel()
                await self._tunnel(request, backend, headers, send)
            else:
                leg = RelayLeg(offer, config)
                relay = Relay(client, receive, send, leg, exact=TUNNEL in extensions)
                leg.take_over(backend.transport, backend.first)
                await self._relay(request, relay, leg.subprotocol, headers, send)
        except OSError:  # the client left while it was being answered
            raise ClientLeft from None
        finally:
            backend.abort()  # a session that has ended has closed it already
            self._gateway.finished(attempt)

    async def _while_there(
        self,
        client: asyncio.Future[Message],
        request: Request,
        offer: TunnelOffer | RelayOffer,
    ) -> Attempt[Answer]:
        """What `_reach` returns, unless the client leaves first: then nothing is left behind."""
        reaching = asyncio.create_task(self._reach(request, offer))
        try:
            either: set[asyncio.Future[Any]] = {reaching, client}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if client.done() and client.result()["type"] == "websocket.disconnect":
                raise ClientLeft
            return await reaching
        except BaseException:
            reaching.cancel()
            for result in await asyncio.gather(reaching, return_exceptions=True):
                if isinstance(result, Attempt):
                    result.answer.abort()
                    self._gateway.finished(result)
            raise

    async def _reach(self, request: Request, offer: TunnelOffer | RelayOffer) -> Attempt[Answer]:
        """The answer of the first backend that gives one."""
        route = await self._gateway.find_route(request)
        fields = [*request_headers(request.headers, request.ours), *SWITCH]
        if isinstance(offer, RelayOffer):
            fields = offer.fields(fields)
        idle, timeout = self._config.tcp_timeout, self._config.response_timeout
        ask = partial(
            switch,
            self._dial,
            target=request.target,
            headers=fields,
            checker=offer,
            timeout=idle if timeout is None else timeout,
            idle=idle,
        )
        return await self._gateway.first_answer(request, route, ask)

    async def _tunnel(
        self, request: Request, backend: Switched, headers: RawHeaders, send: Send
    ) -> None:
        tunnel = Tunnel(
            idle_timeout=self._config.web_socket_idle_timeout,
            close_timeout=self._config.web_socket_close_timeout,
        )
        message = {
            "type": TUNNEL,
            "headers": [*headers, *SWITCH],
            "tunnel": tunnel,
            "backend": backend.transport,
            "first": backend.first,
        }
        await send(message)
        with self._session(request, tunnel):
            try:
                await asyncio.wait({tunnel.ended})
            except asyncio.CancelledError:  # uvicorn's way to say that the grace is over
                tunnel.close(*SERVICE_RESTART)
                await asyncio.wait({tunnel.ended}, timeout=LAST_WORDS)
                tunnel.abort()

    async def _relay(
        self,
        request: Request,
        relay: Relay,
        subprotocol: str | None,
        headers: RawHeaders,
        send: Send,
    ) -> None:
        message = {
            "type": "websocket.accept",
            "subprotocol": subprotocol,
            "headers": without_handshake(headers),
        }
        await send(message)
        with self._session(request, relay):
            await relay.run(idle_timeout=self._config.web_socket_idle_timeout)

    @contextmanager
    def _session(self, request: Request, session: Tunnel | Relay) -> Iterator[None]:
        """Live from here on: known to `aclose`, and one record when it ends."""
        request.record.status = 101
        self._live.add(session)
        try:
            yield
        finally:
            self._live.discard(session)
            record = request.record
            record.bytes_in, record.messages_in = (
                session.from_client.size,
                session.from_client.messages,
            )
            record.bytes_out = session.from_backend.size
            record.messages_out = session.from_backend.messages
            record.close_code, record.closed_by = session.close_code, session.closed_by

    async def _pass_refusal(
        self, request: Request, attempt: Attempt[Answer], headers: RawHeaders, send: Send
    ) -> None:
        """The backend's own answer, as it is; cut where the backend cut it."""
        record, refusal = request.record, attempt.answer
        assert isinstance(refusal, Refusal)
        record.status = refusal.status
        if not await _begin_refusal(send, request.scope, refusal.status, headers, refusal.reason):
            return
        try:
            async for data in refusal:
                record.bytes_out += len(data)
                await send(_body(data, more=True))
            await send(_body(b""))
        except UpstreamError as error:
            record.error = str(error)
            self._gateway.broke_off(attempt, error)  # returning here ends the connection


async def _begin_refusal(
    send: Send, scope: Scope, status: int, headers: RawHeaders, reason: bytes = b""
) -> bool:
    """Send the head; False where the server can not (ASGI makes its close a 403 then)."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1000})
        return False
    await send(
        {
            "type": "websocket.http.response.start",
            "status": status,
            "headers": headers,
            "reason": reason,
        }
    )
    return True


def _body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}
