"""One process that proxies for a hub, and beside it the API, the metrics and the redirects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from ..admin.admin_listener import AdminListener
from ..application import Extension
from ..errors import ConfigError, ProxyError
from ..fields.headers import field
from ..logs import proxy_log
from ..main import create_app
from ..proxy.decision import OwnAnswer
from ..proxy.request import Request
from ..server.accepting import accept_on
from ..server.listeners import ListenAddress, ListeningSocket, bind, close_all
from ..server.running import uvicorn_config
from ..system.open_files import raise_limit
from ..tls.listener import TLSListener
from ..upstream.client import UpstreamClient
from ..websocket.proxy import WebSocketProxy
from .chp_options import ChpOptions
from .hub_numbers import CONTENT_TYPE, HubNumbers
from .hub_observer import HEALTH, HubObserver
from .hub_pages import HubPages
from .hub_routes import HubRoutes
from .hub_table import HubTable
from .rest_api import RestApi

logger = logging.getLogger("hipache.chp")

GRACE = 1
"""Seconds for what runs when the process is told to end: a hub waits for a second, then insists."""
LOOK_EVERY = 1.0
"""Seconds between two looks which WebSockets are in use."""


class HubExtension(Extension):
    """What a hub's proxy adds to ours."""

    def __init__(self, options: ChpOptions) -> None:
        self.table = HubTable(by_host=options.host_routing)
        self.numbers = HubNumbers()
        self._observer = HubObserver(self.table, options.rewriting, self.numbers, time.time)
        self._pages = HubPages(
            options.error_target, Path(options.error_path) if options.error_path else None
        )
        self.observers = (self._observer,)
        self.paths = {HEALTH: self._health}
        self.on_error = self._page
        self._client: UpstreamClient | None = None
        self._sockets: WebSocketProxy | None = None
        self._seen: dict[Request, int] = {}

    @asynccontextmanager
    async def running(self, client: UpstreamClient, sockets: WebSocketProxy) -> AsyncIterator[None]:
        """Watches the WebSockets while it is open."""
        self._client, self._sockets = client, sockets
        watch = asyncio.create_task(self._watch(), name="chp activity")
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    def look(self) -> None:
        """Note the routes whose WebSockets have moved since the last look."""
        if self._sockets is None:
            return
        before, self._seen = self._seen, dict(self._sockets.progress())
        for request, size in self._seen.items():
            if size != before.get(request, 0) and request.route is not None:
                self._observer.touch(request.route.frontend.key)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()

    async def _page(self, request: Request, error: ProxyError) -> ProxyError:
        assert self._client is not None
        return await self._pages.page(self._client, request, error)

    def _health(self, _: bytes, target: bytes) -> OwnAnswer | None:
        if target != HEALTH:
            return None
        return OwnAnswer(200, b'{"status":"OK"}', b"application/json")


class HubServer(uvicorn.Server):
    """The proxy's server, and what listens beside it in the same event loop."""

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[ListeningSocket],
        beside: Sequence[AdminListener],
        pid_file: str | None,
    ) -> None:
        super().__init__(config)
        self._listeners = listeners
        self._beside = beside
        self._pid_file = pid_file
        self._stack = AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        plain = [each.sock for each in self._listeners if each.tls is None]
        await super().startup(sockets=plain)
        if self.should_exit:
            return
        for listener in self._listeners:
            if listener.tls is not None:
                self.servers.append(await accept_on(self, listener))
        for each in self._beside:
            await self._stack.enter_async_context(each)
        self._note_pid()
        logger.info("chp ready pid=%d", os.getpid())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in self._beside:
            each.stop_listening()
        close_all([each.sock for each in self._listeners])
        await super().shutdown(sockets)
        await self._stack.aclose()
        self._forget_pid()

    def _note_pid(self) -> None:
        if self._pid_file is not None:
            Path(self._pid_file).write_text(f"{os.getpid()}", "ascii")

    def _forget_pid(self) -> None:
        if self._pid_file is not None:
            Path(self._pid_file).unlink(missing_ok=True)


def run(options: ChpOptions) -> int:
    """Serve until told to stop; returns the exit status. Raises ConfigError."""
    config = options.checked().config()
    proxy_log.set_up("text", debug=options.log_level == "debug")
    if options.log_level in {"warn", "error"}:
        logging.getLogger("hipache").setLevel(options.log_level.upper())
    raise_limit()
    extension = HubExtension(options)
    if options.default_target is not None:
        extension.table.add("/", {"target": options.default_target}, time.time())
    secured = options.tls.bind("ssl")
    tls = TLSListener(secured) if secured is not None else None
    listeners = [ListeningSocket(sock, tls) for sock in bind_hub(options.public, "chp")]
    beside = [*_api(options, extension), *_metrics(options, extension), *_redirects(options)]
    if not options.token:
        logger.warning("the API asks for no token: CONFIGPROXY_AUTH_TOKEN is not set")
    app = create_app(
        config, store=HubRoutes(extension.table, extension.numbers), extension=extension
    )
    settings = uvicorn_config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=GRACE)
    server = HubServer(settings, listeners, beside, options.pid_file)
    server.run()
    return 0 if server.started else 1


def bind_hub(wanted: Sequence[ListenAddress], what: str) -> list[socket.socket]:
    """Sockets that listen there, each told in the log. Raises ConfigError.

    Of several addresses one is enough: a machine may lack a family.
    """
    bound: list[socket.socket] = []
    for address in wanted:
        if bound and not address.port:
            address = ListenAddress(address.host, bound[0].getsockname()[1])
        try:
            bound.append(bind(address, mode=0o777 & ~_umask()))
        except ConfigError as exc:
            if not bound:
                raise
            logger.debug("not listening address=%s cause=%s", address, exc)
    for sock in bound:
        name = sock.getsockname()
        shown = f"unix:{name}" if isinstance(name, str) else str(ListenAddress(*name[:2]))
        logger.info(f"{what} listening address=%s", shown)
    return bound


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _beside(
    app: ASGIApp, wanted: Sequence[ListenAddress], what: str, tls: ssl.SSLContext | None = None
) -> list[AdminListener]:
    return [AdminListener(app, None, sock, tls=tls) for sock in bind_hub(wanted, what)]


def _api(options: ChpOptions, extension: HubExtension) -> list[AdminListener]:
    secured = options.api_tls.bind("api-ssl")
    tls = TLSListener(secured).current() if secured is not None else None
    api = RestApi(
        extension.table, extension.numbers, token=options.token, look=extension.look,
        clock=time.time,
    )  # fmt: skip
    return _beside(api, options.api, "chp api", tls)


def _metrics(options: ChpOptions, extension: HubExtension) -> list[AdminListener]:
    return _beside(partial(_tell, extension.numbers), options.metrics, "chp metrics")


def _redirects(options: ChpOptions) -> list[AdminListener]:
    return _beside(partial(_redirect, options.redirect_to), options.redirects, "chp redirect")


async def _tell(numbers: HubNumbers, scope: Scope, _: Receive, send: Send) -> None:
    """The page of metrics."""
    found = scope["raw_path"] == b"/metrics"
    await _answer(
        send, 200 if found else 404, (b"content-type", CONTENT_TYPE),
        numbers.page() if found else b"Not Found",
    )  # fmt: skip


async def _redirect(port: int, scope: Scope, _: Receive, send: Send) -> None:
    """To https on `port`."""
    host = (field(scope["headers"], b"host") or b"").partition(b":")[0]
    if port != 443:
        host += b":%d" % port
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    await _answer(send, 301, (b"location", b"https://" + host + target), b"")


async def _answer(send: Send, status: int, header: tuple[bytes, bytes], body: bytes) -> None:
    headers = [header, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
