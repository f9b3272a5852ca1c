"""Which requests are kept: one observer of a worker's requests."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

from ..config.structs import Config
from ..errors import UnderMaintenance
from ..fields.headers import RawHeaders
from ..health import Outcome, Verdict, can_lose_one, verdict
from ..logs.record import AccessRecord
from ..metrics.counters import Counters
from ..proxy.assembly import WorkerIdentity
from ..proxy.gateway import CLIENT_LEFT
from ..proxy.observers import Observer
from ..proxy.request import Request
from ..stores.routes import Routes
from .asking import answer_questions
from .rings import Ring, rings
from .stories import MAX_TRIES, Kind, Story, Try, cut, masked_target

logger = logging.getLogger(__name__)

SAMPLE_EVERY = 1.0
"""Seconds between two requests that are kept as a sample."""
BROKEN = frozenset({None, 1006, 1011, 1014})
"""Close codes of WebSockets that broke (RFC 6455 §7.4.1); None: without a close frame."""


class Recorder(Observer):
    """Keeps what failed, was retried or was slow, and now and then one that was neither."""

    def __init__(
        self,
        kept: dict[Kind, Ring],
        identity: WorkerIdentity,
        *,
        slow: float,
        counters: Counters | None,
        true_client: Callable[[RawHeaders, str], str],
    ) -> None:
        """`slow`: seconds from which a request is slow, 0 for never; of a frontend whose times
        `counters` know, also what is slower than 99 of 100 others. `true_client` tells a
        client's address from fields and peer."""
        self._kept = kept
        self._slow = slow or inf
        self._slow_of: dict[str, float] = {}
        self._quick = self._slow  # nothing below it is slow, whatever its frontend
        self._counters = counters if slow else None
        self._true_client = true_client
        self._proxy, self._worker = identity.name, identity.number
        self._next_sample = 0.0

    def ended(self, request: Request) -> None:
        record = request.record
        if (
            record.total_time < self._quick
            and record.status < 500
            and record.start < self._next_sample
            and not record.error
            and not record.retried_from
        ):
            return  # nearly all of them
        kind = kind_of(record)
        sampled = record.start >= self._next_sample
        if sampled:
            self._next_sample = record.start + SAMPLE_EVERY
            self._learn(record.frontend)
        if kind is not Kind.KEPT or sampled or record.retried_from or self._is_slow(record):
            self._keep(kind, self._story(kind, request))

    def _is_slow(self, record: AccessRecord) -> bool:
        """But a WebSocket may last as long as it likes."""
        limit = self._slow_of.get(record.frontend, self._slow)
        return record.messages_in is None and record.total_time >= limit

    def refused(self, record: AccessRecord) -> None:
        read = record.head
        story = Story(
            record.request_id, Kind.REFUSED, record.start, read.method, read.scheme,
            cut(read.host), masked_target(record.target), read.http_version, read.tls,
            read.client, self._proxy, self._worker, "", [], record.status, cut(record.error),
            record.total_time, record.bytes_in, record.bytes_out,
        )  # fmt: skip
        self._keep(Kind.REFUSED, story)

    def close(self) -> None:
        """Keep nothing more."""
        for ring in self._kept.values():
            ring.close()

    def _keep(self, kind: Kind, story: Story) -> None:
        try:
            self._kept[kind].add(story)
        except OSError as exc:
            logger.warning("request not recorded cause=%s", exc.strerror or exc)

    def _learn(self, frontend: str) -> None:
        """Bring what is slow for this frontend up to date."""
        if self._counters is not None:
            usual = self._counters.slower_than(frontend, 0.99)
            if usual is not None and usual < self._slow:
                self._slow_of[frontend] = usual
            else:
                self._slow_of.pop(frontend, None)
            self._quick = min(self._slow_of.values(), default=self._slow)

    def _story(self, kind: Kind, request: Request) -> Story:
        record = request.record
        return Story(
            record.request_id, kind, record.start, cut(request.method.decode("ascii")),
            request.peer.scheme, cut(request.host.decode("latin-1")),
            masked_target(request.target), request.http_version, request.peer.tls,
            self._true_client(request.headers, request.client), self._proxy, self._worker,
            record.frontend, tries_of(request)[-MAX_TRIES:], record.status, cut(record.error),
            record.total_time, record.bytes_in, record.bytes_out, record.closed_by,
            record.close_code,
        )  # fmt: skip


def kind_of(record: AccessRecord) -> Kind:
    """How a complete record ended. A backend's own 404 is an answer like any other."""
    status, error = record.status, record.error
    if error and (400 <= status < 500 or error == UnderMaintenance.message):
        return Kind.REFUSED
    if record.messages_in is not None:
        broke = record.closed_by != "client" and record.close_code in BROKEN
        return Kind.FAILED if error or broke else Kind.KEPT
    return Kind.FAILED if error or status >= 500 else Kind.KEPT


def tries_of(request: Request) -> list[Try]:
    """The attempts that failed, and the one that did not."""
    record = request.record
    found = [
        Try(
            each.backend, each.outcome, _said(request, verdict(each.outcome)), cut(each.cause),
            each.started - request.started, each.seconds_to_head, each.seconds,
            queue=each.queue_time,
        )
        for each in request.failed_attempts
    ]  # fmt: skip
    if record.attempts > len(found):
        began = found[-1].began + found[-1].total if found else 0.0
        answered = record.head_time is not None and record.status != CLIENT_LEFT
        outcome = Outcome.ANSWERED if answered else Outcome.CLIENT_LEFT
        says = verdict(outcome, record.status) if answered else Verdict.NOTHING
        says = _said(request, says)
        found.append(
            Try(
                record.backend, outcome, says, f"status {record.status}" if answered else "",
                began, record.head_time, record.total_time - began, record.connect_time,
                request.queue_time,
            )
        )  # fmt: skip
    return found


def _said(request: Request, says: Verdict) -> Verdict:
    """What came of a verdict: the only backend of a frontend is never marked, but to be woken."""
    if says not in {Verdict.DEAD, Verdict.EVIDENCE} or request.route is None:
        return says
    frontend = request.route.frontend
    marked = can_lose_one(frontend) or frontend.settings.values.get("wake") is not None
    return says if marked else Verdict.NOTHING


def service_of(config: Config) -> str:
    """What tells a service of this machine from others: its configuration's path."""
    return posixpath.join(config.places.folder, posixpath.basename(config.source))


@contextmanager
def flight_recorder(
    config: Config,
    folder: Path | None,
    identity: WorkerIdentity,
    routes: Routes,
    *,
    counters: Counters | None,
    true_client: Callable[[RawHeaders, str], str],
) -> Iterator[tuple[Observer, ...]]:
    """The recorder of a worker; none if `server.flightRecorder` is off, or without a `folder`.

    It answers what is asked through the store of `routes`.
    """
    if folder is None or not config.server.flight_recorder:
        yield ()
        return
    try:
        kept = rings(folder, service_of(config))
    except OSError as exc:
        logger.warning("no request is recorded cause=%s", exc)
        yield ()
        return
    answer_questions(routes.questions, folder)
    recorder = Recorder(
        kept, identity, slow=config.server.slow_request, counters=counters,
        true_client=true_client,
    )  # fmt: skip
    try:
        yield (recorder,)
    finally:
        recorder.close()
