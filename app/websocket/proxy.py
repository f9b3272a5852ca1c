"""One WebSocket from its handshake to its last byte: the order of events, no rules.

The backend is reached before the client is accepted: the client gets what the
backend chose, or its refusal, as it is. Then either a tunnel carries the bytes (under
our own protocol class) or a relay the messages (under any ASGI server):

              the client's side   the session   the backend's side
    handshake protocol            this module   handshake, offer, upstream/protocol_upgrades
    tunnel    tunnel_leg          tunnel        tunnel_leg
    relay     messages            relay         relay_leg
    refusal   protocol            refusing      upstream/protocol_upgrades
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send

from ..config.structs import ServerConfig
from ..errors import ProxyError, UpstreamError
from ..fields.headers import RawHeaders, response_headers
from ..proxy.attempt import Attempt
from ..proxy.decision import OwnAnswer, Redirect, settled
from ..proxy.gateway import Gateway
from ..proxy.own_responses import of_decision
from ..proxy.request import Request
from ..proxy.request_body import ClientLeft
from ..routing import Route
from ..server.scope import TUNNEL
from ..upstream.protocol_upgrades import UpgradeAnswer
from .frames import LAST_WORDS, SERVICE_RESTART
from .handshake import Ask, checked
from .offer import SWITCH, RelayOffer, TunnelOffer, without_handshake
from .protocol import HELD
from .read_budget import ReadBudget
from .refusing import RefusalTooLong, pass_body, respond, send_head
from .relay import Relay
from .relay_leg import RelayLeg
from .tunnel import Tunnel

Session = Tunnel | Relay
Offer = TunnelOffer | RelayOffer


class _NotForwarded(Exception):
    """No backend gets the handshake: the proxy answers it, as `decision` says."""

    def __init__(self, decision: Redirect | OwnAnswer) -> None:
        super().__init__()
        self.decision = decision


class WebSocketProxy:
    """The ASGI endpoint of one worker's WebSockets."""

    def __init__(self, gateway: Gateway, ask: Ask, config: ServerConfig) -> None:
        self._gateway = gateway
        self._ask = ask
        self._config = config
        self._live: dict[Session, Request] = {}
        self._budget = ReadBudget()

    @property
    def live(self) -> int:
        """Sessions that are open."""
        return len(self._live)

    def progress(self) -> Iterator[tuple[Request, int]]:
        """For every session that is open its request, and the bytes that have passed so far."""
        for session, request in self._live.items():
            yield request, session.from_client.size + session.from_backend.size

    async def aclose(self) -> None:
        """Say 1012 to every live session and wait, `LAST_WORDS` at most, until all are gone."""
        for session in tuple(self._live):
            session.close(SERVICE_RESTART)
        if self._live:
            await asyncio.wait({session.ended for session in self._live}, timeout=LAST_WORDS)
        for session in tuple(self._live):
            session.abort()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        request, gateway = Request.of(scope), self._gateway
        if (probe := gateway.decisions.probe(request.host)) is not None:
            await respond(request, (probe.status, *of_decision(probe)), send)
            return
        gateway.begin(request)
        try:
            attempt, session = await self._establish(request, receive, send)
            if session is not None:
                del receive, send  # thousands of idle sessions should hold no more than they need
                await self._live_through(request, attempt, session)
        except ProxyError as error:
            await respond(request, await gateway.responses.of_error(request, error), send)
        except _NotForwarded as answer:
            await respond(request, await gateway.responses.of(request, answer.decision), send)
        except ClientLeft:
            request.client_left = True
        finally:
            gateway.end(request)

    async def _live_through(
        self, request: Request, attempt: Attempt[None], session: Session
    ) -> None:
        """Known to `aclose` until it ends, and told in the record then."""
        record = request.record
        record.status = 101
        self._live[session] = request
        self._gateway.load.open_web_sockets += 1
        try:
            await session.run()
        finally:
            self._gateway.load.open_web_sockets -= 1
            del self._live[session]
            self._gateway.attempts.finished(attempt)
            up, down = session.from_client, session.from_backend
            record.bytes_in, record.messages_in = up.size, up.messages
            record.bytes_out, record.messages_out = down.size, down.messages
            record.close_code, record.closed_by = session.close_code, session.closed_by

    async def _establish(
        self, request: Request, receive: Receive, send: Send
    ) -> tuple[Attempt[None], Session | None]:
        """A session with the backend that was reached; None where it refused and that was told."""
        offer = self._offer(request)
        client = asyncio.ensure_future(receive())  # that the client left, or its first message
        try:
            reached = await self._while_there(client, request, offer)
        except BaseException:
            client.cancel()
            raise
        backend = reached.answer
        attempt = cast(Attempt[None], reached)
        attempt.answer = None  # an idle session should hold no more than it needs
        session: Session | None = None
        try:
            headers = response_headers(backend.headers, backend.status)
            await self._gateway.attempts.told(attempt, backend.status, headers)
            if backend.status != 101:
                await self._pass_refusal(request, attempt, backend, headers, send)
            elif isinstance(offer, TunnelOffer):
                session = await self._tunnel(backend, headers, send)
            else:
                exact = TUNNEL in request.extensions
                held = self._gateway.held.messages(request)
                leg = RelayLeg(offer, self._config, self._budget, held)
                idle = self._config.web_socket_idle_timeout
                relay = Relay(client, receive, send, leg, idle_timeout=idle, exact=exact)
                session = await self._relay(backend, relay, headers, send)
        except OSError:  # the client left while it was being answered
            raise ClientLeft from None
        finally:
            if not isinstance(session, Relay):
                client.cancel()
            if session is None:
                backend.abandon()
                self._gateway.attempts.finished(attempt)
        return attempt, session

    def _offer(self, request: Request) -> Offer:
        """A tunnel where the server can hand the connection over, else a relay."""
        config = self._config
        if TUNNEL in request.extensions and not config.web_socket_relay:
            return TunnelOffer(request.headers)
        return RelayOffer(request.headers, config)

    async def _while_there(
        self, client: asyncio.Future[Message], request: Request, offer: Offer
    ) -> Attempt[UpgradeAnswer]:
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
                    result.answer.abandon()
                    self._gateway.attempts.finished(result)
            raise

    async def _reach(self, request: Request, offer: Offer) -> Attempt[UpgradeAnswer]:
        """The answer of the first backend that gives one."""
        route = await settled(self._gateway.decisions.decide(request))
        if not isinstance(route, Route):
            raise _NotForwarded(route)
        fields = [*request.fields, *SWITCH]
        if isinstance(offer, RelayOffer):
            fields = offer.fields(fields)
        request.fields = fields
        return await self._gateway.attempts.first_answer(
            request, route,
            lambda backend: checked(
                self._ask, backend, target=request.backend_target, headers=fields, checker=offer
            ),
        )  # fmt: skip

    async def _tunnel(self, backend: UpgradeAnswer, headers: RawHeaders, send: Send) -> Tunnel:
        tunnel = Tunnel(
            idle_timeout=self._config.web_socket_idle_timeout,
            close_timeout=self._config.web_socket_close_timeout,
        )
        await send({
            "type": TUNNEL,
            "headers": [*headers, *SWITCH],
            "tunnel": tunnel,
            "backend": backend.transport,
            "first": backend.first,
        })  # fmt: skip
        return tunnel

    async def _relay(
        self, backend: UpgradeAnswer, relay: Relay, headers: RawHeaders, send: Send
    ) -> Relay:
        relay.leg.take_over(backend.transport, backend.first)
        await send({
            "type": "websocket.accept",
            "subprotocol": relay.leg.subprotocol,
            "headers": without_handshake(headers),
            HELD: relay.leg.held_for_client,
        })  # fmt: skip
        return relay

    async def _pass_refusal(
        self,
        request: Request,
        attempt: Attempt[None],
        refusal: UpgradeAnswer,
        headers: RawHeaders,
        send: Send,
    ) -> None:
        """The backend's own answer, as it is; cut where the backend cut it, or at our limits."""
        (record := request.record).status = refusal.status
        if not await send_head(send, request.extensions, refusal.status, headers, refusal.reason):
            return
        try:
            await pass_body(send, refusal, record)
        except RefusalTooLong as error:  # returning here ends the connection
            record.error = str(error)
        except UpstreamError as error:
            record.error = str(error)
            self._gateway.attempts.cut_short(attempt, error)  # returning here ends the connection
