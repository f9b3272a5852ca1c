"""The moments of a request at which its hooks are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, NamedTuple

from ..fields.headers import RawHeaders
from ..proxy.attempt import Attempt
from ..proxy.decision import Decision, Decisions, Undecided
from ..proxy.observers import Observer
from ..proxy.request import Request
from ..routing import Route
from .hook_calls import HookCalls, logger, shown
from .hook_loading import NO_HOOKS, Hook
from .hook_views import HookAnswer, HookEnd, HookResponse, checked_field, is_framing


class HookedDecisions(Decisions):
    """Asks `on_request` before a route is looked for, and `on_route` before it is followed.

    The rules of the route that `on_route` gives apply to the request: a redirect to https, access.
    """

    def __init__(self, calls: HookCalls, **parts: Any) -> None:
        self._calls = calls
        super().__init__(**parts)

    def _by_host(self, request: Request) -> Decision | Undecided:
        hook = self._calls.hooks.on_request
        if hook is None or not self._calls.first_time(request):  # a paused site goes on
            return super()._by_host(request)
        said = self._calls.ask(hook, request)
        if isawaitable(said):
            return self._once_answered(request, self._calls.asked(hook, request, said))
        return self._unless_answered(request, said)

    def _unless_answered(self, request: Request, said: object) -> Decision | Undecided:
        if said is None:
            return super()._by_host(request)
        if isinstance(said, HookAnswer):
            return said.own
        raise self._calls.misfit("on_request", request, "an Answer", said)

    async def _once_answered(
        self, request: Request, asking: Awaitable[Any]
    ) -> Decision | Undecided:
        return self._unless_answered(request, await asking)

    def _on_route(self, request: Request, route: Route) -> Decision | Undecided:
        hook = self._calls.hooks.on_route
        if hook is None:
            return super()._on_route(request, route)
        said = self._calls.ask(hook, request, route)
        if isawaitable(said):
            return self._once_routed(request, route, self._calls.asked(hook, request, said))
        return self._routed(request, route, said)

    def _routed(self, request: Request, route: Route, said: object) -> Decision | Undecided:
        if said is not None:
            if not isinstance(said, Route):
                raise self._calls.misfit("on_route", request, "a Route", said)
            route = request.route = said
        return super()._on_route(request, route)

    async def _once_routed(
        self, request: Request, route: Route, asking: Awaitable[Any]
    ) -> Decision | Undecided:
        return self._routed(request, route, await asking)


class _Edit:
    """The head of one answer, while a hook edits it."""

    def __init__(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        backend = None if attempt is None else attempt.backend.url
        self.response = HookResponse(status, headers, backend)
        self._request = request
        self._headers = headers
        self._framing = [item for item in headers if is_framing(item[0])]

    def end(self, said: object) -> None:
        """Take over what the hook has left, if it may be sent. Raises TypeError, ValueError."""
        if said is not None:
            raise TypeError(
                f"on_response returned {shown(said)}; it edits response.headers, "
                "and is defined with async def if it has to wait"
            )
        edited = [checked_field(name, value) for name, value in self.response.headers]
        if [item for item in edited if is_framing(item[0])] != self._framing:
            edited = [*self._framing, *(item for item in edited if not is_framing(item[0]))]
            logger.warning(
                "hook's edit ignored, these fields frame the answer request_id=%s",
                self._request.record.request_id,
            )
        self._headers[:] = edited


class EndHookObserver(Observer):
    """Calls `on_end` when all is over."""

    def __init__(self, calls: HookCalls) -> None:
        self._calls = calls

    def ended(self, request: Request) -> None:
        calls, record = self._calls, request.record
        if calls.hooks.on_end is not None:
            end = HookEnd(
                calls.view(request), record.status, record.frontend or None,
                record.backend or None, record.attempts, record.bytes_in, record.bytes_out,
                record.total_time, record.error,
            )  # fmt: skip
            calls.tell(calls.hooks.on_end, end)
        calls.forget(request)


class _EditingObserver(EndHookObserver):
    """Has an `on_response`."""

    def __init__(self, calls: HookCalls, hook: Hook) -> None:
        super().__init__(calls)
        self._hook = hook

    def _leaves(self, request: Request, attempt: Attempt[Any] | None) -> bool:
        """Whether this answer is the one that a hook's failure was given."""
        return attempt is None and self._calls.has_failed(request)

    @contextmanager
    def _failing(self, request: Request) -> Iterator[None]:
        """Raises HookFailed where something fails meanwhile."""
        try:
            yield
        except Exception as error:
            raise self._calls.failure(self._hook, request) from error


class HookObserver(_EditingObserver):
    """Calls `on_response`, a plain function, with the head of every answer."""

    def answered(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        """Raises HookFailed."""
        if not self._leaves(request, attempt):
            edit = _Edit(request, attempt, status, headers)
            with self._failing(request):
                edit.end(self._hook(self._calls.view(request), edit.response))


class WaitingHookObserver(_EditingObserver):
    """Calls `on_response`, a coroutine function, with the head of every answer."""

    async def edit(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        """Raises HookFailed."""
        if not self._leaves(request, attempt):
            edit = _Edit(request, attempt, status, headers)
            with self._failing(request):
                edit.end(await self._hook(self._calls.view(request), edit.response))


class HookedParts(NamedTuple):
    """What the gateway needs for the hooks of a worker."""

    kind: Callable[..., Decisions]
    observers: tuple[Observer, ...]


def hooked_by(calls: HookCalls) -> HookedParts:
    """Those for these hooks: where there are none, what every gateway has without them."""
    hooks = calls.hooks
    asks = hooks.on_request is not None or hooks.on_route is not None
    kind = partial(HookedDecisions, calls) if asks else Decisions
    return HookedParts(kind, () if hooks == NO_HOOKS else (_observer(calls),))


def _observer(calls: HookCalls) -> Observer:
    hook = calls.hooks.on_response
    if hook is None:
        return EndHookObserver(calls)
    of_coroutine = iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__)
    return WaitingHookObserver(calls, hook) if of_coroutine else HookObserver(calls, hook)
