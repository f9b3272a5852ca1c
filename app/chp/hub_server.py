"""One process that proxies for a hub, with the API that the hub writes its routes to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn

from ..admin.admin_listener import AdminListener
from ..application import Extension
from ..config.structs import Config
from ..errors import ConfigError, ProxyError
from ..logs import proxy_log
from ..main import create_app
from ..proxy.decision import OwnAnswer
from ..proxy.request import Request
from ..server.accepting import accept_on
from ..server.listeners import ListeningSocket, close_all
from ..server.running import uvicorn_config
from ..stores import driver_for
from ..stores.driver import NotOffered
from ..stores.hub_records import HubRecords
from ..system.open_files import raise_limit
from ..tls.listener import TLSListener
from ..upstream.client import UpstreamClient
from ..websocket.proxy import WebSocketProxy
from .beside import bind_hub, listeners_beside
from .chp_options import ChpOptions
from .hub_numbers import HubNumbers
from .hub_observer import HEALTH, HubObserver
from .hub_pages import HubPages
from .hub_routes import HubRoutes
from .hub_table import HubTable
from .rest_api import RestApi
from .route_keeping import keeper_of

logger = logging.getLogger("hipache.chp")

GRACE = 1
"""Seconds for what runs when the process is told to end: a hub waits for a second, then insists."""
STORE_WITHIN = 5.0
"""Seconds for each answer of a store that keeps the routes."""
LOOK_EVERY = 1.0
"""Seconds between two looks which WebSockets are in use."""


class HubExtension(Extension):
    """What a hub's proxy adds to ours."""

    def __init__(self, options: ChpOptions, records: HubRecords | None) -> None:
        """`records` keep the routes; None: this process does."""
        self.table = HubTable(by_host=options.host_routing)
        self.keeper = keeper_of(
            self.table, time.time, records, default_target=options.default_target
        )
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
        async with self.keeper.running():
            watch = asyncio.create_task(self._watch(), name="chp activity")
            try:
                yield
            finally:
                watch.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watch
                self.look()

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
    with _records(options.storage) as records:
        return _serve(options, config, HubExtension(options, records))


@contextmanager
def _records(url: str | None) -> Iterator[HubRecords | None]:
    """The store that this URL names. Raises ConfigError."""
    if url is None:
        yield None
        return
    try:
        driver = driver_for([url])
        records = driver.hub_records(timeout=STORE_WITHIN)
    except (ValueError, NotOffered) as exc:
        raise ConfigError(f"--storage-backend: {exc}") from exc
    with driver.hold():
        yield records


def _serve(options: ChpOptions, config: Config, extension: HubExtension) -> int:
    secured = options.tls.bind("ssl")
    tls = TLSListener(secured) if secured is not None else None
    listeners = [ListeningSocket(sock, tls) for sock in bind_hub(options.public, "chp")]
    api = RestApi(
        extension.table, extension.keeper, extension.numbers, token=options.token,
        look=extension.look,
    )  # fmt: skip
    beside = listeners_beside(options, api, extension.numbers)
    if not options.token:
        logger.warning("the API asks for no token: CONFIGPROXY_AUTH_TOKEN is not set")
    app = create_app(
        config, store=HubRoutes(extension.table, extension.numbers), extension=extension
    )
    settings = uvicorn_config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=GRACE)
    server = HubServer(settings, listeners, beside, options.pid_file)
    server.run()
    return 0 if server.started else 1
