"""What HTTP and WebSocket requests have in common: from a scope to a backend that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter, time
from typing import Generic, TypeVar

from starlette.types import Scope

from app.access_log import AccessRecord
from app.balancing import Balancer, RequestFacts
from app.client_watch import Connection
from app.errors import BadHost, ProxyError, UpstreamError
from app.headers import ForwardedFields, RawHeaders, field
from app.health import RetryBudget, may_retry
from app.health_reports import HealthReports
from app.pages import ErrorPages
from app.request_ids import RequestIds
from app.routing import Backend, Route, normalise_host
from app.stores.base import Routes

T = TypeVar("T")

CLIENT_LEFT = 499
"""What the log says of a request whose client did not wait for an answer (nginx's word for it)."""

# A WebSocket is asked for over HTTP, and that is what backends expect in X-Forwarded-Proto.
_AS_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

# The same few thousand names come again and again; reading one costs 2 us.
_normalised = lru_cache(maxsize=8192)(normalise_host)


class Request:
    """One request as the proxy sees it, whatever its protocol."""

    __slots__ = (
        "backend", "client", "client_left", "connection", "facts", "headers", "host", "in_budget",
        "method", "ours", "record", "route", "scope", "started", "target", "task",
    )  # fmt: skip

    scope: Scope
    method: bytes
    target: bytes
    """Byte for byte; ASGI itself loses the difference of `/a` and `/a?`."""
    headers: RawHeaders
    host: bytes
    """The `Host` field as it came; empty if there was none."""
    client: str
    """The peer's address, empty for a unix socket."""
    ours: RawHeaders
    """The fields that we add for the backend: who the client is, and the request's id."""
    facts: RequestFacts
    record: AccessRecord
    route: Route | None
    backend: Backend | None
    """The one of the last attempt."""
    started: float
    """On `perf_counter`."""
    in_budget: bool
    """A retry was taken from the budget and is to be given back."""
    client_left: bool
    connection: Connection | None
    """What our own server lets us do with the client's connection."""
    task: asyncio.Task[None] | None

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method = scope.get("method", "GET").encode("ascii")
        self.headers = scope["headers"]
        self.host = field(self.headers, b"host") or b""
        peer = scope["client"]
        self.client = peer[0] if peer else ""
        self.in_budget = self.client_left = False
        self.route = self.backend = None
        extensions = scope.get("extensions") or {}
        self.connection = connection = extensions.get("hipache.connection")
        self.task = connection.task if connection is not None else asyncio.current_task()
        self.target = extensions.get("hipache.target") or _target(scope)

    def leave(self) -> None:
        """The client has gone: end what runs for it."""
        self.client_left = True
        if self.task is not None:
            self.task.cancel()


@dataclass(slots=True)
class Attempt(Generic[T]):
    """An attempt that was answered, and by whom."""

    route: Route
    backend: Backend
    answer: T
    seconds_to_head: float


def _target(scope: Scope) -> bytes:
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


class Gateway:
    """Everything that the requests of one worker share."""

    def __init__(
        self,
        *,
        routes: Routes,
        balancer: Balancer,
        reports: HealthReports,
        budget: RetryBudget,
        retries: int,
        pages: ErrorPages,
        forwarded: ForwardedFields,
        log: Callable[[AccessRecord], None] | None,
        worker: int = 0,
    ) -> None:
        """`retries`: attempts after the first one, `server.retryOnError`."""
        self.in_flight = 0
        self._routes = routes
        self._balancer = balancer
        self._reports = reports
        self._budget = budget
        self._retries = retries
        self._pages = pages
        self._forwarded = forwarded
        self._log = log
        self._worker = worker
        self._ids = RequestIds()

    @property
    def ready(self) -> bool:
        """Whether a store was reached (or a snapshot loaded) at least once."""
        return self._routes.ready

    # The life of a request

    def begin(self, scope: Scope) -> Request:
        """The request in `scope`, counted, with our fields and a log record begun. `end` it."""
        request = Request(scope)
        headers, client = request.headers, request.client
        scheme = _AS_HTTP[scope["scheme"]]
        server = scope["server"]
        port = server[1] if server else 0
        request_id = self._request_id(headers, client)
        ours = self._forwarded.build(headers, client, scheme, port, request.host)
        request.ours = [*ours, (b"x-request-id", request_id.encode("latin-1"))]
        request.facts = RequestFacts(client, headers)
        request.record = record = AccessRecord(time())
        record.request_id = request_id
        request.started = perf_counter()
        self.in_flight += 1
        return request

    def end(self, request: Request) -> None:
        """The last byte is out, or nobody waits for it any more: write the log."""
        self.in_flight -= 1
        if request.in_budget:
            self._budget.give_back()
        record = request.record
        record.total_time = perf_counter() - request.started
        if request.client_left:
            record.status = record.status or CLIENT_LEFT
            record.error = record.error or "client left"
        if self._log is not None:
            self._describe(request)
            self._log(record)

    def _describe(self, request: Request) -> None:
        """What the request itself has to say in its record."""
        record, scope = request.record, request.scope
        record.worker = self._worker
        record.client = self._forwarded.true_client(request.headers, request.client)
        record.method = scope.get("method", "GET")
        record.target = request.target
        record.http_version = scope["http_version"]
        record.scheme = scope["scheme"]
        record.host = request.host.decode("latin-1")
        for name, value in request.headers:
            if name == b"user-agent":
                record.user_agent = value
            elif name == b"referer":
                record.referer = value
        if request.route is not None:
            record.frontend = request.route.frontend.key
            record.identifier = request.route.frontend.identifier
        if request.backend is not None:
            record.backend = request.backend.url

    def _request_id(self, headers: RawHeaders, client: str) -> str:
        if self._forwarded.trusts(client):
            claimed = field(headers, b"x-request-id")
            if claimed and len(claimed) <= 200:
                return claimed.decode("latin-1")
        return self._ids.new()

    async def find_route(self, request: Request) -> Route:
        """Look the host up. Raises BadHost, FrontendNotFound, StoreUnavailable."""
        if not request.host:
            raise BadHost
        host = _normalised(request.host)
        route = request.route = self._routes.known(host) or await self._routes.find(host)
        return route

    async def first_answer(
        self,
        request: Request,
        route: Route,
        connect: Callable[[Backend], Awaitable[T]],
        *,
        body_intact: Callable[[], bool] = lambda: True,
    ) -> Attempt[T]:
        """The first attempt in which a backend answers `connect`.

        Tries backend after backend as far as `health.may_retry` allows; raises
        the last attempt's error. `finished` must follow an answer.
        """
        balancer, record = self._balancer, request.record
        tried: tuple[str, ...] = ()
        while True:
            backend = request.backend = balancer.pick(route, request.facts, tried)
            balancer.started(route, backend)
            record.attempts += 1
            started = perf_counter()
            try:
                answer = await connect(backend)
            except UpstreamError as error:
                self._reports.failed(route, backend, error)
                balancer.finished(route, backend)
                if not self._retries_after(error, request, len(tried), body_intact()):
                    raise
                tried = record.retried_from = (*tried, backend.url)
            except BaseException:
                balancer.finished(route, backend)
                raise
            else:
                record.head_time = perf_counter() - started
                return Attempt(route, backend, answer, record.head_time)

    def _retries_after(
        self, error: UpstreamError, request: Request, retries: int, body_intact: bool
    ) -> bool:
        """Decide on a retry, and take it from the budget."""
        allowed = may_retry(
            error,
            method=request.method,
            body_intact=body_intact,
            answer_started=False,
            retries=retries,
            limit=self._retries,
        )
        if allowed and not request.in_budget:
            request.in_budget = allowed = self._budget.take(self.in_flight)
        return allowed

    def answered(
        self, request: Request, attempt: Attempt[T], status: int, headers: RawHeaders
    ) -> None:
        """The head of an answer came: judge the backend, keep the client at it if asked to."""
        route, backend = attempt.route, attempt.backend
        self._reports.answered(route, backend, status, headers)
        secure = request.scope["scheme"] in ("https", "wss")
        cookie = self._balancer.cookie(route, backend, request.facts, secure=secure)
        if cookie is not None:
            headers.append((b"set-cookie", cookie))

    def broke_off(self, attempt: Attempt[T], error: UpstreamError) -> None:
        """The answer ended before its end."""
        self._reports.failed(attempt.route, attempt.backend, error, answer_started=True)

    def finished(self, attempt: Attempt[T]) -> None:
        """An attempt that `first_answer` returned is over."""
        self._balancer.finished(
            attempt.route, attempt.backend, seconds_to_head=attempt.seconds_to_head
        )

    def error_page(self, request: Request, error: ProxyError) -> tuple[RawHeaders, bytes]:
        """Fields and body of our own answer."""
        return self._pages.render(
            error,
            accept=field(request.headers, b"accept") or b"",
            request_id=request.record.request_id,
        )
