"""Calls a user's hooks: what they raise becomes a 500 and a line with the traceback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable, iscoroutine
from typing import Any

from ..config.structs import Config
from ..errors import HookFailed
from ..fields.headers import RawHeaders
from ..proxy.request import Request
from ..routing import Backend, Frontend
from ..stores.mark_news import MarkNews
from .hook_loading import Hook, Hooks, load_hooks
from .hook_views import HookRequest

logger = logging.getLogger("hipache.hooks")

MAX_TASKS = 1000
"""Coroutines of `on_end` and `on_dead` that run at a time; what comes beyond is dropped."""
LAST_TASKS = 2.0
"""Seconds that they have when a worker ends."""


class HookCalls:
    """The hooks of one worker, and what they know of the requests that run."""

    def __init__(self, hooks: Hooks, true_client: Callable[[RawHeaders, str], str]) -> None:
        """`true_client` tells a client's address from fields and peer."""
        self.hooks = hooks
        self._true_client = true_client
        self._views: dict[int, HookRequest] = {}
        self._failed: set[int] = set()
        self._met: set[int] = set()
        self._tasks: set[asyncio.Future[Any]] = set()

    def view(self, request: Request) -> HookRequest:
        """The request as its hooks see it, the same object up to its end."""
        view = self._views.get(id(request))
        if view is None:
            client = self._true_client(request.headers, request.client)
            view = self._views[id(request)] = HookRequest(request, client)
        return view

    def forget(self, request: Request) -> None:
        """It has ended."""
        self._views.pop(id(request), None)
        self._failed.discard(id(request))
        self._met.discard(id(request))

    def first_time(self, request: Request) -> bool:
        """Whether this has not been asked about the request before."""
        if id(request) in self._met:
            return False
        self._met.add(id(request))
        return True

    def has_failed(self, request: Request) -> bool:
        """Whether one of its hooks has raised."""
        return id(request) in self._failed

    def ask(self, hook: Hook, request: Request, *more: object) -> Any:
        """What a hook says of a request, or what has to be awaited with `asked`.

        Raises HookFailed.
        """
        try:
            return hook(self.view(request), *more)
        except Exception as error:
            raise self.failure(hook, request) from error

    async def asked(self, hook: Hook, request: Request, pending: Awaitable[Any]) -> Any:
        """What a coroutine says in the end. Raises HookFailed."""
        try:
            return await pending
        except Exception as error:
            raise self.failure(hook, request) from error

    def failure(self, hook: Hook, request: Request) -> HookFailed:
        """Log the exception that is handled now; the error that answers the request."""
        name = getattr(hook, "__name__", str(hook))
        record = request.record
        self._failed.add(id(request))
        logger.exception("hook failed hook=%s request_id=%s", name, record.request_id)
        return HookFailed(f"hook {name} failed")

    def misfit(self, name: str, request: Request, wanted: str, said: object) -> HookFailed:
        """Log that a hook returned what it may not; the error that answers the request."""
        self._failed.add(id(request))
        cause = f"returned neither {wanted} nor None: {shown(said)}"
        logger.error(
            "hook failed hook=%s request_id=%s cause=%s", name, request.record.request_id, cause
        )
        failed = HookFailed(f"hook {name} failed")
        failed.__cause__ = TypeError(cause)
        return failed

    @property
    def news(self) -> MarkNews:
        """Where marks are told."""
        return MarkNews(dead=self.dead)

    def dead(self, frontend: Frontend, backend: Backend, cause: str, first: bool) -> None:
        """A backend was marked dead by this worker; not only the `first` time."""
        if self.hooks.on_dead is not None:
            self.tell(self.hooks.on_dead, frontend.key, backend.url, cause)

    def tell(self, hook: Hook, *what: object) -> None:
        """Call a hook that no request waits for."""
        name = getattr(hook, "__name__", str(hook))
        if len(self._tasks) >= MAX_TASKS:
            logger.error("hook not called, as many as may run have not ended hook=%s", name)
            return
        try:
            pending = hook(*what)
            if isawaitable(pending):
                task = asyncio.ensure_future(pending)
                self._tasks.add(task)
                task.add_done_callback(self._ended)
        except Exception:
            logger.exception("hook failed hook=%s", name)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("hook failed hook=background", exc_info=error)

    async def aclose(self) -> None:
        """Let the coroutines that run end, and cancel those that do not."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=LAST_TASKS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


@asynccontextmanager
async def hook_calls(
    config: Config, true_client: Callable[[RawHeaders, str], str]
) -> AsyncIterator[HookCalls]:
    """The hooks of a worker, as long as it lives. Raises ConfigError if they cannot be loaded."""
    calls = HookCalls(load_hooks(config), true_client)
    try:
        yield calls
    finally:
        await calls.aclose()


def shown(said: object) -> str:
    """What a hook returned and may not, in short. Nobody will await it, if it is a coroutine."""
    if iscoroutine(said):
        said.close()
    return f"{said!r:.100}"
