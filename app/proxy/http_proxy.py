"""One HTTP request from its head to its last byte: the order of events, no rules.

The rules are elsewhere: what becomes of a request (decision), which backend gets it
(balancing), which fields (fields), what an outcome means (health). Hipache's counterpart
is lib/worker.js.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from ..errors import ProxyError, UpstreamError
from ..fields.headers import RawHeaders, has_body, response_headers
from ..fields.trailers import passing_trailers
from ..routing import Backend, Route
from ..server.exchange import Exchange
from ..system.garbage import forget_frames
from ..upstream.client import AnyAnswer, UpstreamClient
from ..upstream.waiting import Waiter
from .attempt import Attempt
from .calls import end_of_cut, is_call, note_end
from .client_watch import ClientWatch
from .decision import SETTLED, Decision, Undecided
from .gateway import Gateway
from .handover import Failed, Handover, Sent, Unsent
from .https_policy import add_hsts
from .interim import CONTINUE_AFTER, pass_interim
from .own_responses import OwnResponse, of_decision
from .request import ClientBody, Request
from .request_body import ClientLeft, RequestBody
from .trailer_passing import EXTENSION, trailers_may_follow

FORWARDED = (Route, Unsent, Sent)
"""States of a request that is on its way to a backend. A tuple: to make a union costs as much as
a call."""
_TAKEN: RawHeaders = []  # in place of fields that nobody needs beside an answer that takes long


class HttpProxy:
    """The ASGI endpoint of one worker for scopes of type `http`."""

    def __init__(self, gateway: Gateway, client: UpstreamClient) -> None:
        self._gateway, self._client = gateway, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, gateway = Request.of(scope), self._gateway
        if (probe := gateway.decisions.probe(request.host)) is not None:
            await _send((probe.status, *of_decision(probe)), send)
            return
        gateway.begin(request)
        state: Handover
        try:
            state = gateway.decisions.decide(request)
        except Exception as error:
            state = Failed(error)
        await self.serve(request, state, scope, receive, send)

    async def serve(
        self, request: Request, state: Handover, _: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request that has begun, from `state` to its end."""
        if request.unbegun is not None and request.task is not None:
            request.task.remove_done_callback(request.unbegun)
            request.unbegun = None
        try:
            await self._serve(request, state, receive, send)
        except ProxyError as error:
            forget_frames(error)
            await self._send_error(request, error, send)
        except ClientLeft as error:
            forget_frames(error)
            request.client_left = True
        except asyncio.CancelledError:
            if not request.client_left:
                request.record.set_failure(503, "the proxy stopped")
                raise
        except Exception as exc:  # a defect of ours: the server answers 500 and logs it
            if not request.client_left:
                request.record.set_failure(500, f"{type(exc).__name__}: {exc}")
            raise
        finally:
            if request.exchange is not None and request.exchange.refused is not None:
                request.record.set_failure(*request.exchange.refused)
            self._gateway.end(request)

    def end_unbegun(
        self, exchange: Exchange, request: Request, state: Handover, _: object = None
    ) -> None:
        """End a request whose `serve` was cancelled before its first step."""
        request.record.set_failure(503, "the proxy stopped")
        if isinstance(state, Unsent | Sent):
            self._gateway.attempts.finished(state.attempt)
        if isinstance(state, Sent):
            state.answer.abandon()
        elif isinstance(state, Unsent) and state.waiter is not None:
            self._client.dequeue(state.attempt.backend, state.waiter)
        elif isinstance(state, Coroutine):
            state.close()
        self._gateway.end(request)
        exchange.tasks.discard(exchange.task)
        exchange.cut()

    async def _serve(self, request: Request, state: Handover, receive: Receive, send: Send) -> None:
        body = request.body
        if body is None and has_body(request.headers):
            body = request.body = self._gateway.held.body(request, receive)
        watch: ClientWatch | None = None
        if request.exchange is not None:
            request.exchange.on_disconnect(request.client_gone)
        else:
            watch = ClientWatch(receive, request.client_gone)
            if isinstance(body, RequestBody):
                body.on_complete = watch.start
            else:
                watch.start()
        try:
            if not isinstance(state, FORWARDED):
                state = await self._settled(request, state)
                if not isinstance(state, Route):
                    await _send(await self._gateway.responses.of(request, state), send)
                    return
            attempt = await self._first_answer(request, state, body)
            if body is not None:
                body.drop()
                if body.complete:
                    request.record.bytes_in, body, request.body = body.size, None, None
            request.fields = _TAKEN
            try:
                await self._relay(request, attempt, send)
            finally:
                self._gateway.attempts.finished(attempt)  # first: closing may be cut short
                await attempt.answer.aclose()
        finally:
            if watch is not None:
                watch.stop()
            if body is not None:
                body.drop()

    async def _settled(self, request: Request, state: Decision | Undecided | Failed) -> Decision:
        """What becomes of the request, once that is decided. Raises what it fails with."""
        if isinstance(state, Failed):
            return self._gateway.attempts.again(request, state.error)
        while not isinstance(state, SETTLED):
            if request.body and request.route:  # a guard may take longer than the store
                request.body.wait_or_refuse()
            state = await state
        return state

    def _first_answer(
        self, request: Request, state: Route | Unsent | Sent, body: ClientBody | None
    ) -> Awaitable[Attempt[AnyAnswer]]:
        """The head of an answer, from the first backend that gives one."""
        exchange = request.exchange
        if isinstance(body, RequestBody) and exchange and exchange.stream.expects_continue:
            body.before = partial(exchange.wait_for_body, CONTINUE_AFTER)
        method, client, held = request.method, self._client, self._gateway.held
        route, first = (state, None) if isinstance(state, Route) else (state.attempt.route, state)
        begun = None if first is None else first.attempt
        on_interim = partial(pass_interim, exchange) if exchange else None

        def open_answer(backend: Backend) -> Awaitable[AnyAnswer]:
            nonlocal first
            waiter: Waiter | None = None
            if first is not None:  # what was begun holds for the first attempt only
                begun_as, first = first, None
                if isinstance(begun_as, Sent):
                    return client.answered(backend, begun_as.answer)
                waiter = begun_as.waiter
            if body is not None:
                held.before_attempt(body, backend)
            return client.open(
                backend, method, request.backend_target, request.fields, body,
                asker=request, waiter=waiter, on_interim=on_interim,
            )  # fmt: skip

        return self._gateway.attempts.first_answer(
            request, route, open_answer,
            body_intact=lambda: body is None or body.replayable, begun=begun,
        )  # fmt: skip

    async def _relay(self, request: Request, attempt: Attempt[AnyAnswer], send: Send) -> None:
        """Pass the answer down at the client's pace."""
        record, answer = request.record, attempt.answer
        call = is_call(attempt, answer)
        headers = self.head_down(request, attempt, answer)
        if (observers := self._gateway.observers).edits:
            await observers.tell_head(request, attempt, answer.status, headers)
        record.status = answer.status  # the answer has begun: an error can only cut it now
        trailing = trailers_may_follow(request, answer, headers)
        await send({
            "type": "http.response.start",
            "status": answer.status,
            "headers": headers,
            "reason": answer.reason,  # our own server sends it; ASGI has no place for it
            "trailers": trailing,
        })  # fmt: skip
        answer.headers, headers, request.ours = _TAKEN, _TAKEN, ()
        trailers: RawHeaders | None = None
        if answer.whole is not None:
            record.bytes_out = len(answer.whole)
            await send({"type": "http.response.body", "body": answer.whole})
        else:
            try:
                async for chunk in answer:
                    record.bytes_out += len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except UpstreamError as error:
                self._gateway.attempts.cut_short(attempt, error)
                trailers = end_of_cut(request, error) if call and trailing else None
                if trailers is None:
                    raise
            await send({"type": "http.response.body"})
        if call and trailers is None and note_end(attempt):
            self._gateway.attempts.call_ended(attempt)
        if trailing:
            trailers = passing_trailers(answer.trailers) if trailers is None else trailers
            await send({"type": EXTENSION, "headers": trailers})

    def head_down(self, request: Request, attempt: Attempt[Any], answer: AnyAnswer) -> RawHeaders:
        """The fields of the head for the client; judges the backend, too. See Attempts.answered."""
        headers = response_headers(answer.headers, answer.status)
        if answer.status == 426 and request.http_version == "1.1":
            headers += [field for field in answer.headers if field[0] == b"upgrade"]
        gateway = self._gateway
        options = gateway.decisions.options(attempt.route)
        if options.hsts:
            add_hsts(options.hsts, request.ours, headers)
        gateway.attempts.answered(attempt, answer.status, headers)
        request.record.connect_time = answer.connect_time
        return headers

    async def _send_error(self, request: Request, error: ProxyError, send: Send) -> None:
        """Send our own page; if the answer has begun already, only a cut is honest."""
        if request.record.status:
            request.record.error = str(error)
            if request.exchange is not None:
                request.exchange.cut()
            return
        await _send(await self._gateway.responses.of_error(request, error), send)


async def _send(response: OwnResponse, send: Send) -> None:
    status, headers, body = response
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
