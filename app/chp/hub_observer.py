"""Requests on their way to a hub's targets: what they become there, and that routes are in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ..fields.headers import RawHeaders
from ..proxy.attempt import Attempt
from ..proxy.observers import Observer
from ..proxy.request import Request
from .hub_numbers import HubNumbers
from .hub_table import HubTable
from .target_paths import (
    join,
    plain_path,
    rewritten_location,
    target_of,
    with_field,
    without_prefix,
)

HEALTH = b"/_chp_healthz"
_TOLD = (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto")
_OURS = frozenset({*_TOLD, b"x-real-ip"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """What becomes of a request's path and fields, and of an answer's `Location`."""

    include_prefix: bool = True
    """The route's own path stays in what its target is asked for."""
    prepend_path: bool = True
    """The path in the target's URL goes in front."""
    forward: bool = True
    """Add `X-Forwarded-*`; else they pass as the client sent them."""
    change_origin: bool = False
    """`Host` is the target's."""
    fields: Sequence[tuple[bytes, bytes]] = ()
    """More fields for targets, names in lower case."""
    auto_rewrite: bool = False
    """A target's redirect to itself leads to the host that was asked for."""
    protocol: str | None = None
    """And to this scheme."""


class HubObserver(Observer):
    """Rewrites and notes. All that it changes it sets anew for each attempt."""

    def __init__(
        self,
        table: HubTable,
        rewriting: Rewriting,
        numbers: HubNumbers,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives Unix seconds."""
        self._table = table
        self._rewriting = rewriting
        self._numbers = numbers
        self._clock = clock

    def began(self, request: Request) -> None:
        if request.target != HEALTH:
            self._numbers.count("requests_ws" if request.web_socket else "requests_web")

    def attempt_began(self, request: Request, attempt: Attempt[Any]) -> None:
        how, target = self._rewriting, target_of(attempt.backend.url)
        path, (_, _, query) = plain_path(request.target), request.target.partition(b"?")
        if not how.include_prefix:
            path = without_prefix(path, self._own_path(attempt.route.frontend.key))
        base, more = (target.path, target.query) if how.prepend_path else (b"/", b"")
        request.backend_target = join(base, more, path, query)
        if not how.forward:
            request.fields[:] = [item for item in request.fields if item[0] not in _OURS]
            request.fields += [item for item in request.headers if item[0] in _OURS]
        if how.change_origin:
            with_field(request.fields, b"host", target.authority)
        for name, value in how.fields:
            with_field(request.fields, name, value)

    def answered(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        if request.target != HEALTH:
            self._numbers.status("requests_proxy", status)
        how = self._rewriting
        if attempt is None or not (how.auto_rewrite or how.protocol):
            return
        host = request.host if how.auto_rewrite else None
        target = target_of(attempt.backend.url)
        headers[:] = [
            (
                name,
                rewritten_location(status, value, target, host=host, scheme=how.protocol)
                if name == b"location"
                else value,
            )
            for name, value in headers
        ]

    def ended(self, request: Request) -> None:
        route, record = request.route, request.record
        if route is not None and (record.status < 300 or record.bytes_in):
            self.touch(route.frontend.key)

    def touch(self, path: str) -> None:
        """The route of `path` is in use."""
        started = perf_counter()
        self._table.touch(path, self._clock())
        self._numbers.took("last_activity_updating", perf_counter() - started)

    def _own_path(self, path: str) -> str:
        """A route's path without the host in front."""
        if not self._table.by_host or path == "/":
            return path
        return "/" + path[1:].partition("/")[2]
