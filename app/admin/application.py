"""The paths of the admin listener, and who may ask."""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from heapq import nsmallest
from math import inf
from operator import itemgetter
from time import monotonic

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..config.admin import is_local
from ..config.structs import Config
from ..errors import StoreUnavailable
from ..metrics import exposition
from ..metrics.exposition import OPENMETRICS, TEXT, Exposition
from ..metrics.families import Family
from ..metrics.folder import YieldBudget
from ..metrics.shown import shown
from ..tls.listener import expiries
from ..tls.store_certificates import stored_expiries
from . import state
from .client import store_names
from .openapi import DESCRIPTION
from .state import Sources

OPEN = ("/healthz", "/readyz")
"""Paths that anybody may ask: a platform's probes have no token, and learn only yes or no."""
READ_EVERY, MOST_STORED = 600.0, 500
"""Seconds for which the ends of the store's certificates are believed; how many are told."""


def admin_application(sources: Sources) -> ASGIApp:
    """The ASGI application of the admin listener."""
    admin = Admin(sources)
    paths: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/metrics": admin.metrics,
        "/healthz": admin.healthz,
        "/readyz": admin.readyz,
        "/api/": admin.index,
        "/api/openapi.json": admin.openapi,
        "/api/workers": admin.workers,
        "/api/frontends": admin.frontends,
        "/api/backends": admin.backends,
        "/api/failures": admin.failures,
    }
    app = Starlette(routes=[Route(path, answer) for path, answer in paths.items()])
    return Guarded(app, sources.config.admin.token)


class Guarded:
    """Asks for the token if there is one.

    Without, the listener is on loopback; there a page in the operator's browser
    could still ask through a name of its own that resolves to 127.0.0.1, so
    only names of this machine are answered.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["path"] in OPEN else self._refusal(Headers(scope=scope))
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._token is None:
            host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
            if is_local(host.strip("[]") or "localhost"):
                return None
            return PlainTextResponse("ask by an address of this machine\n", 403)
        claimed = headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(claimed.encode("latin-1"), self._token.encode()):
            return None
        return PlainTextResponse(
            "admin.token is needed\n", 401, {"www-authenticate": 'Bearer realm="hipache"'}
        )


class StoredCertificates:
    """When the certificates of the store end, as of a while ago: to ask means to read all keys."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ends: list[tuple[str, datetime]] = []
        self._read_at = -inf
        self._reading: asyncio.Task[None] | None = None

    def now(self) -> list[tuple[str, datetime]]:
        """Those that end first, as far as they are known; what is too old is read beside."""
        due = self._read_at + READ_EVERY <= monotonic()
        if self._config.https.binds and due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(), name="stored certificates")
        return self._ends

    async def _read(self) -> None:
        with suppress(StoreUnavailable):  # which is told elsewhere
            found = await stored_expiries(self._config)
            ends = [(name, end) for name, end in found if isinstance(end, datetime)]
            self._ends = nsmallest(MOST_STORED, ends, key=itemgetter(1))
            self._read_at = monotonic()


class Admin:
    """Answers each path."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._bounds = sources.config.admin.buckets
        self._stored = StoredCertificates(sources.config)

    async def healthz(self, request: Request) -> Response:
        """This worker lives."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """Whether requests can be routed."""
        if self._sources.routes.ready:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("no route store has been reached yet\n", 503)

    async def metrics(self, request: Request) -> Response:
        """All metrics, made in turns with the proxy's own work."""
        total = await self._sources.sum()
        chosen = await shown(total, self._sources.folder)
        await state.learn(self._sources, chosen)
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        out = Exposition(self._bounds, openmetrics=openmetrics)
        parts: list[Iterable[str]] = [
            exposition.frontends(out, chosen),
            exposition.proxy(out, total),
            out.gauge(*await self._backends_by_state(chosen)),
            out.gauge(*await asyncio.to_thread(self._certificates, self._stored.now())),
        ]
        if self._sources.config.admin.planb_names:
            parts.append(exposition.planb(out, total, chosen))
        parts.append([out.end()])
        return StreamingResponse(_in_turns(parts), media_type=OPENMETRICS if openmetrics else TEXT)

    async def _backends_by_state(
        self, chosen: Iterable[str]
    ) -> tuple[Family, list[tuple[str, float]]]:
        """Of the frontends that are shown, as far as this worker has their routes in memory."""
        counts, budget = Counter({"live": 0, "dead": 0}), YieldBudget()
        for key in chosen:
            route = self._sources.routes.in_memory(key)
            if route is not None:
                counts.update(state.backend_states(route, self._sources.config))
            await budget.spend()
        family = Family("backends", "Backends of the frontends shown, by state.", ("state",))
        return family, [(f'state="{name}"', count) for name, count in sorted(counts.items())]

    def _certificates(
        self, stored: Iterable[tuple[str, datetime]]
    ) -> tuple[Family, list[tuple[str, float]]]:
        family = Family(
            "certificate_expiry_timestamp_seconds", "When a certificate ends.", ("file",)
        )
        ends = [*expiries(self._sources.config.https.binds), *stored]
        return family, [
            (f'file="{exposition.escaped(name)}"', end.timestamp())
            for name, end in ends
            if isinstance(end, datetime)
        ]

    async def index(self, request: Request) -> Response:
        """Whose routes are served, and where to go on."""
        return JSONResponse({
            "store": store_names(self._sources.config),
            "openapi": "/api/openapi.json",
            "paths": list(DESCRIPTION["paths"]),
        })  # fmt: skip

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(DESCRIPTION)

    async def workers(self, request: Request) -> Response:
        return JSONResponse(list(state.workers(await self._sources.sum())))

    async def frontends(self, request: Request) -> Response:
        total = await self._sources.sum()
        return JSONResponse(list(state.frontends(total, self._bounds)))

    async def backends(self, request: Request) -> Response:
        total = await self._sources.sum()
        only = request.query_params.get("frontend")
        return JSONResponse(await state.backends(total, self._sources, only))

    async def failures(self, request: Request) -> Response:
        return JSONResponse(state.failures(await self._sources.sum()))


async def _in_turns(parts: Iterable[Iterable[str]]) -> AsyncIterator[bytes]:
    """The text in chunks of a moment's work each."""
    budget, pieces = YieldBudget(), []
    for part in parts:
        for piece in part:
            pieces.append(piece)
            if budget.spent:
                yield "".join(pieces).encode()
                pieces.clear()
                await budget.spend()
    yield "".join(pieces).encode()
