"""Who is told of requests: the access log, the counters, debug fields, spans.

An observer overrides the moments that it needs; the others cost nothing. To add one, list
it where the gateway is made (app.proxy.assembly). All moments come in the event loop, in
this order for each request:

    began
        attempt_began
        edit                the head of an answer: the backend's, or one of the proxy's own
        answered            the same, as it is after all edits
        failed              that answer is a 5xx of the proxy's own
        attempt_ended
        ...                 one pair for each attempt
    ended

What one request needs from moment to moment an observer keeps by itself, under the request
or the attempt. An exception of an observer is logged; it hurts neither the request nor the
other observers. Only HookFailed, at the moments `edit` and `answered`, takes the answer's place.
`edit` may wait: where an observer has it, every answer goes down in a task.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any

from ..errors import HookFailed
from ..fields.headers import RawHeaders
from ..logs.record import AccessRecord, HeadRecord
from ..metrics.counters import Counters
from .attempt import Attempt
from .debug_fields import ASKED, DebugFields
from .request import Request

logger = logging.getLogger(__name__)


class Observer:
    """Does nothing at every moment."""

    def began(self, request: Request) -> None:
        """A request has begun; `headers` and `ours` may be replaced."""

    def attempt_began(self, request: Request, attempt: Attempt[Any]) -> None:
        """A backend was picked; `request.fields`, which it will get, may be changed in place."""

    def answered(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        """The client will get this head; `headers` may be changed in place.

        `attempt` is None for an answer of the proxy's own, whose reason is in
        `request.record.error`.
        """

    async def edit(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        """As `answered`, for what has to wait before it knows what to change."""

    def failed(self, request: Request) -> None:
        """The client will get a 5xx of the proxy's own; `request.record` has status and error."""

    def attempt_ended(self, request: Request, attempt: Attempt[Any]) -> None:
        """The attempt is over. `attempt.error` says why it failed; without an error and without
        `seconds_to_head` it was given up."""

    def ended(self, request: Request) -> None:
        """The last byte was sent, or the client has gone; `request.record` is complete."""

    def refused(self, record: AccessRecord) -> None:
        """The server refused something before it was a request: no other moment comes."""


class Observers:
    """For each moment, those who override it."""

    __slots__ = (
        "_edited", "answered", "attempt_began", "attempt_ended", "began", "edits", "ended",
        "failed", "refused",
    )  # fmt: skip

    answered: tuple[Callable[..., None], ...]
    """Nobody where there are edits: `tell_head` tells all of them after those."""
    edits: tuple[Callable[..., Awaitable[None]], ...]

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        all_of_them = tuple(observers)

        def of(moment: str) -> tuple[Callable[..., Any], ...]:
            ignored = getattr(Observer, moment)
            return tuple(
                getattr(observer, moment)
                for observer in all_of_them
                if getattr(type(observer), moment) is not ignored
            )

        self.began = of("began")
        self.attempt_began = of("attempt_began")
        self.edits = of("edit")
        answered = of("answered")
        self.answered = () if self.edits else answered
        self._edited = answered if self.edits else ()
        self.attempt_ended = of("attempt_ended")
        self.ended = of("ended")
        self.failed = of("failed")
        self.refused = of("refused")

    async def tell_head(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        """Wait for the edits of an answer's head, then tell those of `answered`.

        Raises HookFailed.
        """
        for tell in (*self.edits, *self.answered, *self._edited):
            try:
                if (pending := tell(request, attempt, status, headers)) is not None:
                    await pending
            except HookFailed:
                raise
            except Exception:
                observer_failed(tell)


def observer_failed(tell: Callable[..., None]) -> None:
    """Log the exception that `tell` has raised. The log takes one a minute of lines alike."""
    logger.exception("observer failed moment=%s", getattr(tell, "__qualname__", tell))


class FailureLogObserver(Observer):
    """Logs each 5xx of the proxy's own under the id that its page shows.

    The proxy's log bounds lines that are alike (`logs.proxy_log`): an outage costs some lines a
    minute, not one for each request.
    """

    def failed(self, request: Request) -> None:
        route, backend, record = request.route, request.backend, request.record
        logger.warning(
            "request failed status=%d request_id=%s frontend=%s backend=%s cause=%s",
            record.status, record.request_id,
            "-" if route is None else route.frontend.key,
            "-" if backend is None else backend.url, record.error or "-",
        )  # fmt: skip


class DebugObserver(Observer):
    """Adds the `X-Debug` fields to the answers of clients that ask and may see them."""

    def __init__(self, fields: DebugFields) -> None:
        self._fields = fields

    def answered(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        exchange = request.exchange
        if exchange is not None and not exchange.asks_debug:
            return  # most requests: our own server has looked already
        if request.header(ASKED) is None:
            return
        # As the client sent them: a guard may have changed the request's own.
        if not self._fields.granted(list(request.sent), request.client):
            return
        if attempt is not None:
            headers += self._fields.of_answer(
                request.host, attempt.route, attempt.backend,
                total=perf_counter() - request.started, to_head=attempt.seconds_to_head or 0.0,
            )  # fmt: skip
        elif request.record.error:
            headers += self._fields.of_error(request.record.error)


class CountersObserver(Observer):
    """Counts each request when it ends."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def ended(self, request: Request) -> None:
        self._counters.ended(request.record, request.method, request.host)

    def refused(self, record: AccessRecord) -> None:
        self._counters.count("refused_requests", str(record.status))


class AccessLogObserver(Observer):
    """Completes the record of each request and logs it."""

    def __init__(
        self,
        write: Callable[[AccessRecord], None],
        true_client: Callable[[RawHeaders, str], str],
        worker: int,
    ) -> None:
        """`true_client` tells a client's address from fields and peer; `worker` is a number."""
        self.write = write
        self._true_client = true_client
        self._worker = worker

    def ended(self, request: Request) -> None:
        record, repetition = request.record, request.repetition
        record.target = request.target
        if repetition is None or request.headers != repetition.headers:  # a hook may change them
            record.head = self._read(request)
        else:
            record.head = repetition.record = repetition.record or self._read(request)
        self.write(record)

    def _read(self, request: Request) -> HeadRecord:
        named, peer = dict(request.headers), request.peer
        return HeadRecord(
            self._true_client(request.headers, request.client), request.method.decode("ascii"),
            request.http_version, request.host.decode("latin-1"), named.get(b"referer", b""),
            named.get(b"user-agent", b""), peer.scheme, peer.tls, self._worker,
        )  # fmt: skip

    def refused(self, record: AccessRecord) -> None:
        record.head.worker = self._worker
        self.write(record)
