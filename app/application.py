"""Starlette's part of the proxy: the application, and the endpoint behind its router."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from .proxy.decision import OwnPath
from .proxy.http_proxy import HttpProxy
from .proxy.observers import Observer
from .proxy.own_responses import OnError
from .system.memory_watch import Counting
from .upstream.client import UpstreamClient
from .websocket.proxy import WebSocketProxy

logger = logging.getLogger("hipache")


class Extension:
    """What a program around the proxy adds to it; this one adds nothing."""

    paths: Mapping[bytes, OwnPath] = MappingProxyType({})
    """Paths that it answers by itself, by their beginning."""
    observers: Sequence[Observer] = ()
    """They are told of requests before the proxy's own."""
    on_error: OnError | None = None
    """What is answered in place of an error page."""

    @asynccontextmanager
    async def running(self, client: UpstreamClient, sockets: WebSocketProxy) -> AsyncIterator[None]:
        """Entered when the proxy is ready to serve, left when it has served."""
        yield


class Endpoint:
    """The catch-all behind Starlette's router: every path, every method, both protocols.

    A Route or Mount cannot replace it: each answers 404 for `*` and for a path with
    an encoded newline.
    """

    http: ASGIApp
    websocket: ASGIApp

    def __init__(self, before: ASGIApp) -> None:
        """`before` gets the requests that come before `serve_with`."""
        self.http = self.websocket = self._before = before

    def serve_with(self, http: HttpProxy, websocket: WebSocketProxy) -> None:
        """The worker's parts have started: from now on they get the requests."""
        self.http, self.websocket = http, websocket

    def rest(self) -> None:
        """The parts have ended."""
        self.http = self.websocket = self._before

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        endpoint = self.http if scope["type"] == "http" else self.websocket
        return endpoint(scope, receive, send)


class Application(Starlette):
    """Starlette without the parts that a catch-all does not need: a tenth of a request's cost.

    Starlette's two exception middlewares turn exceptions into pages, but our
    endpoints answer every ProxyError themselves. Any other exception is a defect:
    the server logs it and answers 500. Without routes there is nothing to match.
    Middleware and routes that a user adds work as usual.
    """

    def __init__(self, lifespan: Lifespan[Application]) -> None:
        super().__init__(lifespan=lifespan)
        self.router.redirect_slashes = False

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = self.router if self.router.routes else self._straight_on
        for cls, args, kwargs in reversed(self.user_middleware):
            app = cls(app, *args, **kwargs)
        return app

    def goes_straight_to(self, endpoint: ASGIApp) -> bool:
        """Whether there is only our own middleware between a request and `endpoint`."""
        middleware: set[object] = {each.cls for each in self.user_middleware}
        return (
            middleware <= {Counting} and not self.router.routes and self.router.default is endpoint
        )

    def _straight_on(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self.router(scope, receive, send)
        return self.router.default(scope, receive, send)


class FirstRequest:
    """Starts the parts where nobody has run the lifespan.

    So it is under daphne, `uvicorn --lifespan off` and httpx's ASGITransport, and for an
    application that is mounted in another. The parts live in a task of their own, which ends
    with the event loop: `asyncio.run` and its like cancel it. Where nobody does (daphne), the
    end of the interpreter ends it.
    """

    def __init__(self, app: Application) -> None:
        self.endpoint = Endpoint(self)
        self._app = app
        self._started: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the parts, once for all requests that wait, and serve this one with them.

        Raises what the start raises; the next request tries again.
        """
        loop = asyncio.get_running_loop()
        if self._started is None or self._started.get_loop() is not loop:
            self._started = loop.create_future()
            # An empty context: the request's variables are not those of the parts.
            life = loop.create_task(
                self._live(self._started), name="parts without a lifespan", context=Context()
            )
            _living.add(life)
            life.add_done_callback(_living.discard)
        await asyncio.shield(self._started)
        endpoint = self.endpoint.http if scope["type"] == "http" else self.endpoint.websocket
        if endpoint is self:  # they ended before this request had its turn
            raise RuntimeError("the proxy ends with its event loop")
        await endpoint(scope, receive, send)

    async def _live(self, started: asyncio.Future[None]) -> None:
        """Run the parts until this task is cancelled."""
        logger.info("no lifespan was run: the proxy starts with its first request")
        try:
            async with self._app.router.lifespan_context(self._app):
                started.set_result(None)
                await asyncio.get_running_loop().create_future()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            elif not isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self.endpoint.rest()
            if self._started is started:
                self._started = None


_living: set[asyncio.Task[None]] = set()
"""Parts without a lifespan, in any event loop."""


def _end_with_the_interpreter() -> None:
    for life in tuple(_living):
        loop = life.get_loop()
        if not loop.is_closed() and not loop.is_running():
            life.cancel()
            loop.run_until_complete(asyncio.wait([life]))


# The way of concurrent.futures, for want of a public one. atexit is too late: the interpreter
# first waits for threads, which the parts must end. A thread of ours that waits for the main one
# is too late as well: by then no thread takes work, and the end of the access log needs one.
threading._register_atexit(_end_with_the_interpreter)  # type: ignore[attr-defined]
