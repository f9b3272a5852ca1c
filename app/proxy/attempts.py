"""The attempts of a request: backend after backend, as long as that is safe and of use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, TypeVar

from ..balancing.balancer import Balancer
from ..errors import HookFailed, NoLiveBackend, UpstreamError, UpstreamStale, UpstreamUnreachable
from ..fields.headers import RawHeaders, field
from ..health import REPLACEMENTS, may_retry
from ..routing import Backend, Route, normalise_host
from ..waking.wakes import Wakes
from .attempt import Attempt
from .call_reports import CallReports
from .health_reports import HealthReports
from .media_types import HTML, preferred_type
from .observers import Observers, observer_failed
from .request import Request
from .retry_queue import RetryQueue

T = TypeVar("T")
ASLEEP = (NoLiveBackend, UpstreamUnreachable)
"""What a request ends in when no backend of its frontend lives: nothing was sent."""


class Attempts:
    """Makes the attempts of one worker, and tells the balancer and the health reports of each."""

    def __init__(
        self,
        balancer: Balancer,
        reports: HealthReports,
        *,
        retries: int,
        retry_timeouts: bool,
        queue_timeout: float,
        in_flight: Callable[[], int],
        id_field: bytes | None,
        observers: Observers,
        wakes: Wakes | None = None,
    ) -> None:
        """`retries`: attempts after the first one; `retry_timeouts`: whether a GET or HEAD is sent
        again whose answer takes too long; `queue_timeout`: seconds that one of them
        waits for its turn; `in_flight`: requests of this worker; `id_field`: the field of
        answers with the request's id; `wakes`: where requests wait for a frontend to wake."""
        self._wakes = wakes
        self._balancer = balancer
        self._reports = reports
        self._calls = CallReports(reports)
        self._retries = retries
        self._retry_timeouts = retry_timeouts
        self._observers = observers
        self._id_field = id_field
        self._retry_queue = RetryQueue(queue_timeout, in_flight)

    async def first_answer(
        self,
        request: Request,
        route: Route,
        connect: Callable[[Backend], Awaitable[T]],
        *,
        body_intact: Callable[[], bool] = lambda: True,
        begun: Attempt[T] | None = None,
        may_wait: bool = True,
    ) -> Attempt[T]:
        """The first attempt in which a backend answers `connect`; `finished` must follow.

        Goes on as far as `health.may_retry` allows; raises the last attempt's error.
        `begun` is the first attempt, if `begin` was called already. With `may_wait` a request
        waits for a frontend to wake.
        """
        tried: tuple[str, ...] = ()
        replaced, in_budget = 0, False
        try:
            while True:
                attempt, begun = begun or self.begin(request, route, tried), None
                try:
                    attempt.answer = await connect(attempt.backend)
                except UpstreamError as error:
                    self.failed(attempt, error)
                    stale = isinstance(error, UpstreamStale)
                    done, limit = (replaced, REPLACEMENTS) if stale else (len(tried), self._retries)
                    if not may_retry(
                        error, method=request.method, body_intact=body_intact(),
                        answer_started=error.answer_begun, retries=done, limit=limit,
                        retry_timeouts=self._retry_timeouts,
                    ):  # fmt: skip
                        raise
                    if stale:
                        replaced += 1
                        continue
                    in_budget = in_budget or await self._retry_queue.enter()
                    if not in_budget:
                        raise
                    tried = request.record.retried_from = (*tried, attempt.backend.url)
                    self._reports.retried(error)
                except BaseException:
                    self.finished(attempt)
                    raise
                else:
                    self.head_came(attempt)
                    return attempt
        except ASLEEP as error:
            if not (may_wait and self.waits_for(request, error) and body_intact()):
                raise
        finally:
            if in_budget:
                self._retry_queue.leave()
        return await self._once_awake(request, connect, body_intact)

    async def _once_awake(
        self,
        request: Request,
        connect: Callable[[Backend], Awaitable[T]],
        body_intact: Callable[[], bool],
    ) -> Attempt[T]:
        """Wait for a backend to start, as often as `wakeTimeout` allows, and ask it."""
        accept = field(request.headers, b"accept") or b""
        browser = (
            request.method == b"GET" and not request.web_socket and preferred_type(accept) == HTML
        )
        host = normalise_host(request.host)
        while True:
            assert request.route is not None
            assert self._wakes is not None
            request.route = await self._wakes.wait(
                request.route, host, request.target, since=request.started, browser=browser
            )
            try:
                return await self.first_answer(
                    request, request.route, connect, body_intact=body_intact, may_wait=False
                )
            except ASLEEP as error:
                if not (self.waits_for(request, error) and body_intact()):
                    raise

    def again(self, request: Request, error: Exception) -> Route:
        """The route of a request that failed with `error`, if it may wait; else raise that."""
        if self.waits_for(request, error) and request.route is not None:
            return request.route
        raise error

    def waits_for(self, request: Request, error: Exception) -> bool:
        """Whether `request`, which ended in `error`, may wait for its frontend to wake."""
        return (
            self._wakes is not None
            and isinstance(error, ASLEEP)
            and request.route is not None
            and self._wakes.is_asleep(request.route)
        )

    # The steps of one attempt

    def begin(self, request: Request, route: Route, tried: tuple[str, ...] = ()) -> Attempt[Any]:
        """Pick a backend; `finished` must follow. Raises NoLiveBackend, InvalidBackend."""
        backend = request.backend = self._balancer.begin(route, request, tried)
        record = request.record
        record.attempts += 1
        record.backend = backend.url
        attempt: Attempt[Any] = Attempt(request, route, backend)
        for tell in self._observers.attempt_began:
            try:
                tell(request, attempt)
            except Exception:
                observer_failed(tell)
        return attempt

    def head_came(self, attempt: Attempt[T]) -> None:
        """The head of an answer has come."""
        seconds = attempt.seconds_to_head = perf_counter() - attempt.started
        attempt.request.record.head_time = seconds

    def answered(self, attempt: Attempt[T], status: int, headers: RawHeaders) -> None:
        """Judge the backend by its head, and add what keeps the client at it and tells the id.

        Where there are edits, `Observers.tell_head` must follow. Raises HookFailed.
        """
        request, route, backend = attempt.request, attempt.route, attempt.backend
        if attempt.grpc_status is None or not self._calls.judge(attempt):
            self._reports.answered(attempt, status, headers)
        secure = request.peer.scheme == "https"
        cookie = self._balancer.cookie(route, backend, request, secure=secure)
        if cookie is not None:
            headers.append((b"set-cookie", cookie))
        if self._id_field is not None:
            headers[:] = [field for field in headers if field[0] != self._id_field]
            headers.append((self._id_field, request.record.request_id.encode("latin-1")))
        for tell in self._observers.answered:
            try:
                tell(request, attempt, status, headers)
            except HookFailed:
                raise
            except Exception:
                observer_failed(tell)

    async def told(self, attempt: Attempt[T], status: int, headers: RawHeaders) -> None:
        """As `answered`, and waits for the observers that have to. Raises HookFailed."""
        self.answered(attempt, status, headers)
        if self._observers.edits:
            await self._observers.tell_head(attempt.request, attempt, status, headers)

    def failed(self, attempt: Attempt[T], error: UpstreamError) -> None:
        """It is over, without an answer."""
        attempt.fail(error)
        self.finished(attempt)
        self._reports.failed(attempt, error)

    def cut_short(self, attempt: Attempt[T], error: UpstreamError) -> None:
        """The answer ended before its end; `finished` must follow."""
        attempt.fail(error, answer_started=True)
        self._reports.failed(attempt, error, answer_started=True)

    def call_ended(self, attempt: Attempt[T]) -> None:
        """A call of gRPC has got its status, which the answer's head did not tell."""
        self._calls.ended(attempt)

    def finished(self, attempt: Attempt[T]) -> None:
        """It is over, in whichever way."""
        self._balancer.finished(
            attempt.route, attempt.backend, seconds_to_head=attempt.seconds_to_head
        )
        for tell in self._observers.attempt_ended:
            try:
                tell(attempt.request, attempt)
            except Exception:
                observer_failed(tell)
