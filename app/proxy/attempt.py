"""One attempt at a backend."""

from __future__ import annotations

from time import perf_counter
from typing import Generic, TypeVar

from ..errors import UpstreamError
from ..routing import Backend, Route
from .request import Request

T = TypeVar("T")


class Attempt(Generic[T]):
    """An attempt that has begun; in the end with what the backend answered."""

    __slots__ = ("answer", "backend", "error", "request", "route", "seconds_to_head", "started")

    answer: T
    """Set once there is one."""
    error: UpstreamError | None
    """Why it failed, before its answer or within it."""
    seconds_to_head: float | None
    """None until the head of an answer has come."""

    def __init__(self, request: Request, route: Route, backend: Backend) -> None:
        self.request = request
        self.route = route
        self.backend = backend
        self.error = self.seconds_to_head = None
        self.started = perf_counter()
