"""The fast path, below ASGI: serves an ordinary request inside the event loop's own reads.

It needs no task, no future, no scope and no message: they are half the cost of a small request.
It calls the same functions as HttpProxy, in the same order. HttpProxy takes over what is not
ordinary, in the state that the request has reached (app.proxy.handover): a route that memory does
not have, a guard that has to ask, a backend to connect to, an answer in pieces, an answer that
waits for a hook, a body that is still to come, a worker that drains.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..fields.headers import RawHeaders
from ..fields.trailers import Trailers
from ..routing import Route
from ..server.exchange import Exchange
from ..server.request_head import RequestHead
from ..upstream.answer import Answer
from ..upstream.client import UpstreamClient
from ..upstream.waiting import Waiter
from .attempt import Attempt
from .calls import is_call
from .gateway import Gateway
from .handover import Failed, Handover, Sent, Unsent
from .http_proxy import HttpProxy
from .interim import pass_interim
from .request import Request
from .trailer_passing import trailers_down


class FastPath:
    """What the application offers to our own server, with the same effect as its ASGI way."""

    def __init__(
        self, gateway: Gateway, client: UpstreamClient, http: HttpProxy, count: Callable[[], None]
    ) -> None:
        """`count` is called for each request, as the middleware does for the others."""
        self.gateway = gateway
        self.attempts = gateway.attempts
        self.http, self.client = http, client
        self._probes = gateway.decisions.probes
        self._decide = gateway.decisions.decide
        self._count = count
        self._answer = _EditedAnswer if gateway.observers.edits else FastAnswer

    def begin(self, exchange: Exchange, head: RequestHead) -> bool:
        """Take over a request; False, with nothing done, for a probe.

        The Exchange then has a task, or a QueuedRequest or FastAnswer as its `direct`.
        """
        request = Request(
            head.method, head.target, head.headers, exchange.peer, head.http_version, exchange,
            head.repetition,
        )  # fmt: skip
        if request.host in self._probes:
            return False
        self._count()
        self.gateway.begin(request)
        try:
            if head.length:
                request.body = self.gateway.held.arriving_body(request, exchange)
            state = self._set_off(exchange, request)
        except Exception as failure:  # HttpProxy answers requests that fail
            state = Failed(failure)
        if state is not None:
            self.hand_over(exchange, request, state)
        return True

    def _set_off(self, exchange: Exchange, request: Request) -> Handover | None:
        """Send the request to its backend; else its state when something has to wait."""
        route = self._decide(request)
        if not (exchange.body_complete and isinstance(route, Route)):
            return route
        attempt: Attempt[Any] = self.attempts.begin(request, route)
        try:
            if self.send(exchange, request, attempt):
                return None
            waiter = self.client.queue(attempt.backend, request) if request.body is None else None
            if waiter is None:  # HttpProxy holds a body while it waits
                return Unsent(attempt)
            QueuedRequest(self, exchange, request, attempt, waiter)
        except BaseException:
            self.attempts.finished(attempt)
            raise
        return None

    def send(
        self, exchange: Exchange, request: Request, attempt: Attempt[Any],
        waiter: Waiter | None = None,
    ) -> bool:  # fmt: skip
        """Send it, if a connection is free at once; its FastAnswer begins."""
        body, answer = request.body, self._answer(self, exchange, request, attempt)
        try:
            if body is not None:
                self.gateway.held.before_attempt(body, attempt.backend)
            exchange.direct = answer
            sent = self.client.send_now(
                attempt.backend, request.method, request.backend_target, request.fields, answer,
                waiter, body,
            )  # fmt: skip
        except BaseException:
            answer.disown()
            raise
        if not sent:
            exchange.direct = None
        return sent

    def client_gone(self, request: Request, attempt: Attempt[Any]) -> None:
        """The client of a request without a task has gone."""
        request.client_left = True
        self.attempts.finished(attempt)
        self.gateway.end(request)

    def hand_over(self, exchange: Exchange, request: Request, state: Handover) -> None:
        """Go on in a task, as every request does under another server."""
        exchange.direct = None
        exchange.start(partial(self.http.serve, request, state))
        request.task = task = exchange.task
        assert task is not None
        request.unbegun = partial(self.http.end_unbegun, exchange, request, state)
        task.add_done_callback(request.unbegun)


class QueuedRequest:
    """A request without a task that waits for a connection to its backend."""

    __slots__ = ("_attempt", "_exchange", "_path", "_request", "_waiter")

    def __init__(
        self, path: FastPath, exchange: Exchange, request: Request, attempt: Attempt[Any],
        waiter: Waiter,
    ) -> None:  # fmt: skip
        self._path = path
        self._exchange = exchange
        self._request = request
        self._attempt = attempt
        self._waiter = waiter
        exchange.direct = self
        waiter.when_done(self._on_turn)

    def _on_turn(self) -> None:
        """A connection is free, or waiting was in vain."""
        try:
            sent = self._path.send(self._exchange, self._request, self._attempt, self._waiter)
        except Exception as failure:
            self._path.attempts.finished(self._attempt)
            self._path.hand_over(self._exchange, self._request, Failed(failure))
        else:
            if not sent:
                self.hand_over()

    def client_gone(self) -> None:
        """The client has gone."""
        self._path.client.dequeue(self._attempt.backend, self._waiter)
        self._path.client_gone(self._request, self._attempt)

    def hand_over(self) -> None:
        """Wait on in a task."""
        self._waiter.when_done(None)
        state = Unsent(self._attempt, self._waiter)
        self._path.hand_over(self._exchange, self._request, state)


class FastAnswer(Answer):
    """The answer to a request without a task, until it is whole or HttpProxy takes over."""

    __slots__ = ("_attempt", "_exchange", "_path")

    asker: Request

    def __init__(
        self, path: FastPath, exchange: Exchange, request: Request, attempt: Attempt[Any]
    ) -> None:
        super().__init__(None, request)
        self._path = path
        self._exchange: Exchange | None = exchange
        self._attempt = attempt

    # -- backend_stream.Receiver

    def on_interim(self, status: int, headers: RawHeaders) -> None:
        if self._exchange is not None:
            pass_interim(self._exchange, status, headers)

    def on_whole(
        self, status: int, reason: bytes, headers: RawHeaders, body: bytes, trailers: Trailers = ()
    ) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_whole(status, reason, headers, body, trailers)
            return
        self._stream = exchange.direct = None
        path, request, attempt = self._path, self.asker, self._attempt
        try:
            try:
                self.status, self.headers = status, headers
                path.attempts.head_came(attempt)
                if request.body is not None or trailers or request.method == b"POST":  # gRPC's
                    self.whole, self.trailers = body, trailers
                    is_call(attempt, self)
                fields = path.http.head_down(request, attempt, self)
                trailers = trailers and trailers_down(request, self, fields)
            finally:
                path.attempts.finished(attempt)
            request.record.status = status
            request.record.bytes_out = len(body)
            exchange.stream.answer(status, fields, reason, body, trailers)
        except Exception as failure:
            path.hand_over(exchange, request, Failed(failure))
        else:
            path.gateway.end(request)

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        super().on_head(status, reason, headers)
        self.hand_over()

    def on_lost(self, error: BaseException) -> None:
        super().on_lost(error)
        self.hand_over()

    def client_gone(self) -> None:
        """The client has gone."""
        self.disown()
        self._path.client_gone(self.asker, self._attempt)

    def disown(self) -> None:
        """Whatever still comes is no answer to the request."""
        self._exchange = None
        self.abandon()

    def hand_over(self) -> None:
        """Something has to wait: go on in a task, as an Answer like any other."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._path.hand_over(exchange, self.asker, Sent(self._attempt, self))
            del self._attempt  # it will refer to us


class _EditedAnswer(FastAnswer):
    """One that has to wait for an observer before it goes down."""

    __slots__ = ()

    def on_whole(self, *answer: Any, **more: Any) -> None:
        Answer.on_whole(self, *answer, **more)
        self.hand_over()
