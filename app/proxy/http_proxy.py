"""One HTTP request from its head to its last byte: the order of events, no rules.

The rules are elsewhere: which key (routing), which backend (balancing), which
fields (headers), what an outcome means (health). Hipache's counterpart is
lib/worker.js.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from ..errors import ProxyError, UpstreamError
from ..fields.headers import RawHeaders, field, has_body, request_headers, response_headers
from ..routing import Backend, Route
from ..upstream.answer import Answer
from ..upstream.client import AnyAnswer, UpstreamClient
from ..upstream.waiting import Waiter
from .attempts import Attempt
from .client_watch import ClientWatch
from .gateway import Gateway
from .https_policy import REDIRECT
from .request import Request
from .request_body import ClientLeft, RequestBody

PING, READY = b"__ping__", b"__ready__"
"""`Host` fields that ask about the proxy itself; `__ping__` is Hipache's."""
STATES = frozenset({PING, READY})


@dataclass(slots=True)
class SoFar:
    """What was done for a request before it got a task (app.proxy.fast_path)."""

    waiting: Awaitable[None] | None = None
    """A guard's answer, still to come; then the route is found."""
    attempt: Attempt[Any] | None = None
    """The first one has begun."""
    answer: Answer | None = None
    """What `attempt` waits for, if its request was sent."""
    place: Waiter | None = None
    """Where it waits for a connection, if it was not."""
    failure: Exception | None = None
    """It has failed already."""


class HttpProxy:
    """The ASGI endpoint of one worker for scopes of type `http`."""

    def __init__(self, gateway: Gateway, client: UpstreamClient, *, retry_buffer: int) -> None:
        """`retry_buffer`: bytes of a body that are held for a retry."""
        self._gateway = gateway
        self._client = client
        self._retry_buffer = retry_buffer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (host := field(scope["headers"], b"host")) in STATES:
            await self._tell_state(host == PING, send)
            return
        await self.go_on(self._gateway.begin_scope(scope), SoFar(), scope, receive, send)

    async def go_on(
        self, request: Request, so_far: SoFar, _: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request that the gateway has begun, from where it is to its end."""
        try:
            await self._serve(request, so_far, receive, send)
        except ProxyError as error:
            await self._explain(request, error, send)
        except ClientLeft:
            request.client_left = True
        except asyncio.CancelledError:
            if not request.client_left:
                request.record.set_failure(503, "the proxy stopped")
                raise
        except Exception as exc:  # a defect of ours: the server answers it and shows where
            if not request.client_left:
                request.record.set_failure(500, f"{type(exc).__name__}: {exc}")
            raise
        finally:
            if request.connection is not None and request.connection.refused is not None:
                request.record.set_failure(*request.connection.refused)
            self._gateway.end(request)

    async def _serve(self, request: Request, so_far: SoFar, receive: Receive, send: Send) -> None:
        body: RequestBody | None = None
        if has_body(request.headers):
            body = RequestBody(receive, hold=self._retry_buffer)
        watch: ClientWatch | None = None
        if request.connection is not None:
            request.connection.on_disconnect(request.leave)
        else:
            watch = ClientWatch(receive, request.leave)
            if body is None:
                watch.start()
            else:
                body.on_complete = watch.start
        try:
            route = await self._admitted(request, so_far, send)
            if route is None:
                return
            content: RequestBody | bytes | None = body
            if body is not None and self._comes_at_once(request):
                content = await body.whole()
            attempt = await self._ask(request, route, content, body, so_far)
            try:
                await self._relay(request, attempt, send)
            finally:
                self._gateway.attempts.finished(attempt)  # first: closing may be cut short
                await attempt.answer.aclose()
        finally:
            if watch is not None:
                watch.stop()
            if body is not None:
                request.record.bytes_in = body.size

    async def _admitted(self, request: Request, so_far: SoFar, send: Send) -> Route | None:
        """The route, once the request may take it; None: its client was sent elsewhere."""
        if so_far.failure is not None:
            raise so_far.failure
        if so_far.attempt is not None:
            return so_far.attempt.route
        if so_far.waiting is not None:
            await so_far.waiting
            return request.route
        gateway = self._gateway
        route = await gateway.find_route(request)
        if (location := gateway.elsewhere(request, route)) is not None:
            await _redirect(request, location, gateway.id_field(request), send)
            return None
        if (waiting := gateway.admit(request, route)) is not None:
            await waiting
        return route

    def _ask(
        self,
        request: Request,
        route: Route,
        content: RequestBody | bytes | None,
        body: RequestBody | None,
        so_far: SoFar,
    ) -> Awaitable[Attempt[AnyAnswer]]:
        """The head of an answer, from whichever backend gives one."""
        if so_far.attempt is None:
            request.fields = request_headers(request.headers, request.ours)
        method, target, client = request.method, request.target, self._client

        def open_answer(backend: Backend) -> Awaitable[AnyAnswer]:
            answer, so_far.answer = so_far.answer, None
            place, so_far.place = so_far.place, None
            if answer is not None:
                return client.answered(backend, answer)
            return client.open(backend, method, target, request.fields, content, waiter=place)

        return self._gateway.attempts.first_answer(
            request, route, open_answer,
            body_intact=lambda: body is None or body.replayable, begun=so_far.attempt,
        )  # fmt: skip

    def _comes_at_once(self, request: Request) -> bool:
        """Whether the body is so small that waiting for all of it beats streaming it."""
        length = field(request.headers, b"content-length")
        return length is not None and int(length) <= self._retry_buffer

    async def _relay(self, request: Request, attempt: Attempt[AnyAnswer], send: Send) -> None:
        """Pass the answer down at the client's pace."""
        record, answer = request.record, attempt.answer
        headers = self.head_down(request, attempt, answer)
        await send({
            "type": "http.response.start",
            "status": answer.status,
            "headers": headers,
            "reason": answer.reason,  # our own server sends it; ASGI has no place for it
        })  # fmt: skip
        if answer.whole is not None:
            record.bytes_out = len(answer.whole)
            await send({"type": "http.response.body", "body": answer.whole})
            return
        try:
            async for chunk in answer:
                record.bytes_out += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except UpstreamError as error:
            self._gateway.attempts.broke_off(attempt, error)
            raise
        await send({"type": "http.response.body"})

    def head_down(self, request: Request, attempt: Attempt[Any], answer: AnyAnswer) -> RawHeaders:
        """The head's fields as the client gets them, once all who care about it were told."""
        headers = response_headers(answer.headers, answer.status)
        self._gateway.attempts.answered(request, attempt, answer.status, headers)
        self._gateway.https.insist(attempt.route, request.ours, headers)
        request.record.status = answer.status
        request.record.connect_time = answer.connect_time
        return headers

    async def _explain(self, request: Request, error: ProxyError, send: Send) -> None:
        """Our own page; but where the answer has begun, only a cut is honest."""
        record = request.record
        record.error = str(error)
        if record.status:
            if request.connection is not None:
                request.connection.cut()
            return
        record.status = error.status
        headers, body = self._gateway.error_page(request, error)
        if request.method == b"HEAD":
            body = b""
        record.bytes_out = len(body)
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _tell_state(self, ping: bool, send: Send) -> None:
        """`__ping__`: this worker lives. `__ready__`: it has reached its store once."""
        ready = ping or self._gateway.ready
        body = b"ok" if ready else b"no route store has been reached yet"
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        status = 200 if ready else 503
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _redirect(request: Request, location: bytes, id_field: RawHeaders, send: Send) -> None:
    request.record.status = REDIRECT
    headers = [(b"location", location), (b"content-length", b"0"), *id_field]
    await send({"type": "http.response.start", "status": REDIRECT, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
