"""Starlette's part of the proxy: the application, and the endpoint behind its router."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from .proxy.http_proxy import HttpProxy
from .system.memory_watch import Counting
from .websocket.proxy import WebSocketProxy


class Endpoint:
    """The catch-all behind Starlette's router: every path, every method, both protocols.

    A Route or Mount cannot replace it: each answers 404 for `*` and for a path with
    an encoded newline.
    """

    http: HttpProxy
    websocket: WebSocketProxy

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
