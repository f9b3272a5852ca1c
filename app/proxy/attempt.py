"""One attempt at a backend."""

from __future__ import annotations

from time import perf_counter
from typing import Generic, TypeVar

from ..errors import UpstreamError
from ..grpc.statuses import GrpcStatus
from ..health import cause_of, outcome_of
from ..routing import Backend, Route
from .request import FailedAttempt, Request

T = TypeVar("T")


class Attempt(Generic[T]):
    """An attempt that has begun; in the end with what the backend answered."""

    __slots__ = (
        "answer", "backend", "error", "grpc_status", "request", "route", "seconds_to_head",
        "started",
    )  # fmt: skip

    answer: T
    """Set once there is one."""
    error: UpstreamError | None
    """Why it failed, before its answer or within it."""
    seconds_to_head: float | None
    """None until the head of an answer has come."""
    grpc_status: GrpcStatus | None
    """How a call of gRPC has ended, as far as that is known."""

    def __init__(self, request: Request, route: Route, backend: Backend) -> None:
        self.request = request
        self.route = route
        self.backend = backend
        self.error = self.seconds_to_head = self.grpc_status = None
        self.started = perf_counter()

    def fail(self, error: UpstreamError, *, answer_started: bool = False) -> None:
        """Note that it failed; `answer_started`: inside the answer's body."""
        self.error, request = error, self.request
        outcome = outcome_of(error, answer_started=answer_started)
        failure = FailedAttempt(
            self.backend.url, outcome, cause_of(error, outcome), self.started,
            self.seconds_to_head, perf_counter() - self.started, request.queue_time,
        )  # fmt: skip
        request.queue_time = None
        request.failed_attempts = (*request.failed_attempts, failure)
