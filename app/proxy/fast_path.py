"""The way below ASGI: an ordinary request is served inside the event loop's own reads.

No task, no future, no scope and no message: they are half of what a small request
costs. The functions called are those of the way above (`HttpProxy`), in the same
order. Whatever is not ordinary is handed over to it, with what was done so far: a
route that memory does not have, a guard that has to ask, a backend to connect to, an
answer in pieces or none, a worker that drains.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..fields.headers import RawHeaders, request_headers
from ..server.exchange import Exchange
from ..server.request_head import RequestHead
from ..upstream.answer import Answer
from ..upstream.client import UpstreamClient
from ..upstream.request_framing import request_head
from ..upstream.stream import BackendStream
from ..upstream.waiting import Waiter
from .attempts import Attempt
from .gateway import Gateway
from .http_proxy import STATES, HttpProxy, SoFar
from .request import Request


class Express:
    """What the application offers to our own server, where it is equal in effect."""

    def __init__(
        self,
        gateway: Gateway,
        client: UpstreamClient,
        http: HttpProxy,
        count: Callable[[], None],
    ) -> None:
        """`count` is told of each request, as the middleware is of the others."""
        self.gateway = gateway
        self.attempts = gateway.attempts
        self.http = http
        self.client = client
        self._count = count

    def begin(self, exchange: Exchange, head: RequestHead) -> bool:
        """Take a request without a body over; False, with nothing done, if it is no ordinary one.

        An Exchange that was taken has a task, or a Waiting or Journey in `direct`.
        """
        request = Request(
            head.method, head.target, head.headers, exchange.peer, head.http_version,
            exchange,
        )  # fmt: skip
        if request.host in STATES:
            return False
        self._count()
        self.gateway.begin(request)
        try:
            so_far = self._set_off(exchange, request)
        except Exception as failure:  # whoever answers requests that fail is the other way
            so_far = SoFar(failure=failure)
        if so_far is not None:
            self.hand_over(exchange, request, so_far)
        return True

    def _set_off(self, exchange: Exchange, request: Request) -> SoFar | None:
        """Send the request to its backend; else what was done before something has to wait."""
        gateway = self.gateway
        route = gateway.known_route(request)
        if route is None or gateway.elsewhere(request, route) is not None:
            return SoFar()
        if (waiting := gateway.admit(request, route)) is not None:
            return SoFar(waiting=waiting)
        request.fields = request_headers(request.headers, request.ours)
        attempt: Attempt[Any] = self.attempts.begin(request, route)
        try:
            head = request_head(request.method, request.target, request.fields)
            if self.send(exchange, request, attempt, head):
                return None
            place = self.client.queue(attempt.backend)
            if place is None:
                return SoFar(attempt=attempt)
            Waiting(self, exchange, request, attempt, head, place=place)
        except BaseException:
            self.attempts.finished(attempt)
            raise
        return None

    def send(
        self,
        exchange: Exchange,
        request: Request,
        attempt: Attempt[Any],
        head: bytes,
        place: Waiter | None = None,
    ) -> bool:
        """Send it, if there is a connection at once; its Journey begins."""
        return self.client.send_now(
            attempt.backend, request.method, head,
            partial(Journey, self, exchange, request, attempt), place,
        )  # fmt: skip

    def left(self, request: Request, attempt: Attempt[Any]) -> None:
        """The client of a request without a task has gone."""
        request.client_left = True
        self.attempts.finished(attempt)
        self.gateway.end(request)

    def hand_over(self, exchange: Exchange, request: Request, so_far: SoFar) -> None:
        """Go on in a task, as every request does under another server."""
        exchange.direct = None
        exchange.start(partial(self.http.go_on, request, so_far), {})
        request.task = exchange.task


class Waiting:
    """A request without a task that waits for a connection to its backend."""

    __slots__ = ("_attempt", "_exchange", "_express", "_head", "_place", "_request")

    def __init__(
        self,
        express: Express,
        exchange: Exchange,
        request: Request,
        attempt: Attempt[Any],
        head: bytes,
        *,
        place: Waiter,
    ) -> None:
        self._express = express
        self._exchange = exchange
        self._request = request
        self._attempt = attempt
        self._head = head
        self._place = place
        exchange.direct = self
        place.add_done_callback(self._turn)

    def _turn(self, place: Waiter) -> None:
        """A connection is free, or waiting was of no use."""
        if self._exchange.direct is not self:
            return  # it has left, or somebody else waits
        try:
            sent = self._express.send(
                self._exchange, self._request, self._attempt, self._head, place
            )
        except Exception as failure:
            self._express.attempts.finished(self._attempt)
            self._express.hand_over(self._exchange, self._request, SoFar(failure=failure))
        else:
            if not sent:
                self.hand_over()

    # -- exchange.Direct

    def client_gone(self) -> None:
        """The client has gone."""
        self._express.client.dequeue(self._attempt.backend, self._place)
        self._express.left(self._request, self._attempt)

    def hand_over(self) -> None:
        """Wait on in a task."""
        so_far = SoFar(attempt=self._attempt, place=self._place)
        self._express.hand_over(self._exchange, self._request, so_far)


class Journey(Answer):
    """A request on its way without a task, until its answer comes or it is handed over."""

    __slots__ = ("_attempt", "_exchange", "_express", "_request")

    def __init__(
        self,
        express: Express,
        exchange: Exchange,
        request: Request,
        attempt: Attempt[Any],
        stream: BackendStream,
    ) -> None:
        super().__init__(stream)
        self._express = express
        self._exchange: Exchange | None = exchange
        self._request = request
        self._attempt = attempt
        exchange.direct = self

    # -- stream.Receiver

    def on_whole(self, status: int, reason: bytes, headers: RawHeaders, body: bytes) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_whole(status, reason, headers, body)
            return
        self._stream = exchange.direct = None
        express, request, attempt = self._express, self._request, self._attempt
        try:
            try:
                self.status, self.headers = status, headers
                express.attempts.head_came(request, attempt)
                fields = express.http.head_down(request, attempt, self)
            finally:
                express.attempts.finished(attempt)
            request.record.bytes_out = len(body)
            exchange.answer(status, fields, reason, body)
        except Exception as failure:
            express.hand_over(exchange, request, SoFar(failure=failure))
        else:
            express.gateway.end(request)

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        super().on_head(status, reason, headers)
        self.hand_over()

    def on_lost(self, error: BaseException) -> None:
        super().on_lost(error)
        self.hand_over()

    # -- exchange.Direct

    def client_gone(self) -> None:
        """The client has gone."""
        self._exchange = None
        self.abandon()
        self._express.left(self._request, self._attempt)

    def hand_over(self) -> None:
        """Something has to wait: go on in a task, and be an Answer like any other."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            so_far = SoFar(attempt=self._attempt, answer=self)
            self._express.hand_over(exchange, self._request, so_far)
