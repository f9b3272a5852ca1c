"""What all requests of one worker share: their beginning, their end and their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter, time

from ..logs.record import AccessRecord
from .added_fields import AddedFields
from .attempts import Attempts
from .client_memory import ClientMemory
from .decision import Decisions
from .observers import Observers, observer_failed
from .own_responses import OwnResponses
from .request import Request

CLIENT_LEFT = 499
"""The logged status of a request whose client did not wait for an answer; the number is nginx's."""


@dataclass(slots=True)
class WorkerLoad:
    """How many requests a worker serves."""

    requests: int = 0
    """HTTP requests and WebSockets."""
    open_web_sockets: int = 0
    """Of these, WebSockets that are open: they ask no backend for anything any more."""

    def asking(self) -> int:
        """Requests that may still ask a backend."""
        return self.requests - self.open_web_sockets


class Gateway:
    """Begins and ends requests; between, its parts decide, attempt and respond."""

    def __init__(
        self,
        *,
        added: AddedFields,
        decisions: Decisions,
        attempts: Attempts,
        responses: OwnResponses,
        observers: Observers,
        load: WorkerLoad,
        held: ClientMemory,
        loads: Callable[[], Iterator[tuple[str, int]]],
    ) -> None:
        """`loads` gives the attempts in flight, by the backend's URL."""
        self.decisions = decisions
        self.attempts = attempts
        self.responses = responses
        self.observers = observers
        self.load = load
        self.held = held
        self.loads = loads
        self._added = added

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended."""
        return self.load.requests

    def begin(self, request: Request) -> None:
        """Count the request in, add our fields and a record. `end` must follow."""
        request_id = self._added.add(request)
        request.record = record = AccessRecord(time())
        record.request_id = request_id
        request.started = perf_counter()
        self.load.requests += 1
        for tell in self.observers.began:
            try:
                tell(request)
            except Exception:
                observer_failed(tell)

    def end(self, request: Request) -> None:
        """The last byte was sent, or the client has gone."""
        self.load.requests -= 1
        if request.slot is not None:
            request.slot.leave()
        record = request.record
        if request.body is not None:
            request.body.drop()
            record.bytes_in = request.body.size
            request.body = None  # it refers to us
        record.total_time = perf_counter() - request.started
        if request.client_left:
            record.set_failure(CLIENT_LEFT, "client left")
        for tell in self.observers.ended:
            try:
                tell(request)
            except Exception:
                observer_failed(tell)

    def refused(self, record: AccessRecord) -> None:
        """The server refused something before it was a request; `record` has what it could read."""
        record.request_id = self._added.ids.new()
        for tell in self.observers.refused:
            try:
                tell(record)
            except Exception:
                observer_failed(tell)
