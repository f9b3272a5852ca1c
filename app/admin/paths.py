"""The paths of the admin listener, and the check of its token."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..config.admin import is_local
from ..metrics import by_backend, exposition
from ..metrics.exposition import OPENMETRICS, TEXT, Exposition
from ..metrics.families import Family
from ..metrics.shown import shown, shown_backends
from ..system.turns import YieldBudget, in_turns
from ..tls.listener import expiries
from . import state
from .admin_client import store_names
from .dashboard.dashboard import FILES, PAGES, Dashboard
from .dashboard.rendering import link
from .dashboard.visits import Visits
from .openapi import DESCRIPTION
from .route_api import JOURNAL, ROUTES, RouteApi
from .state import Sources
from .stored_certificates import StoredCertificates

OPEN = ("/healthz", "/readyz")
"""Paths that need no token: a platform's probes have none, and the answer is only yes or no."""
API = ("/api/", "/metrics")
"""Paths that a login to the dashboard does not open."""
BEFORE_LOGIN = ("/login", *(f"/static/{name}" for name in FILES))


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
    api, token = RouteApi(sources.config), sources.config.admin.token
    visits = None if token is None else Visits(token)
    app = Starlette(routes=[
        *(Route(path, answer) for path, answer in paths.items()),
        *Dashboard(sources, admin.stored, visits).routes(),
        Route(ROUTES, api.all),
        Route(JOURNAL, api.journal),
        Route(f"{ROUTES}/{{key:path}}", api.one, methods=["GET", "PUT", "PATCH", "DELETE"]),
    ])  # fmt: skip
    return Guarded(app, token, visits)


class Guarded:
    """Checks the token or, if there is none, the `Host` field.

    Without a token the listener is on loopback. A page in the operator's browser could still
    reach it through a name of its own that resolves to 127.0.0.1 (DNS rebinding), so `Host`
    must name this machine.
    """

    def __init__(self, app: ASGIApp, token: str | None, visits: Visits | None) -> None:
        self._app = app
        self._token = token
        self._visits = visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["path"] in OPEN else self._refusal(scope, Headers(scope=scope))
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None:
            host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
            if is_local(host.strip("[]") or "localhost"):
                return None
            return PlainTextResponse("the host must be an address of this machine\n", 403)
        claimed = headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(claimed.encode("latin-1"), self._token.encode()):
            return None
        return self._to_login(scope, headers)

    def _to_login(self, scope: Scope, headers: Headers) -> Response | None:
        """Browsers log in to the dashboard, and to nothing else."""
        path, of_api = scope["path"], scope["path"].startswith(API)
        if self._visits is not None and not of_api:
            if path in BEFORE_LOGIN or self._visits.cookie_in(headers, time.time()):
                return None
            if path in PAGES:  # a form as well: its visit has ended
                asked = scope["query_string"].decode("latin-1")
                return RedirectResponse(link("/login", to=f"{path}?{asked}".rstrip("?")), 303)
        return PlainTextResponse(
            "admin.token is required\n", 401, {"www-authenticate": 'Bearer realm="hipache"'}
        )


class Admin:
    """Answers requests of programs, with one method per path."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._bounds = sources.config.admin.buckets
        self.stored = StoredCertificates(sources.config)

    async def healthz(self, request: Request) -> Response:
        """Say that this worker runs."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """Whether requests can be routed."""
        if self._sources.routes.ready:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("no route store has been reached yet\n", 503)

    async def metrics(self, request: Request) -> Response:
        """All metrics. Other tasks run while they are written."""
        total = await self._sources.sum()
        chosen = await shown(total, self._sources.folder)
        await state.learn(self._sources, chosen)
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        out = Exposition(self._bounds, openmetrics=openmetrics)
        parts: list[Iterable[str]] = [
            exposition.frontends(out, chosen),
            exposition.proxy(out, total),
            by_backend.backends(out, await shown_backends(total, self._sources.folder)),
            *await self._states(out, chosen),
            out.gauge(*await asyncio.to_thread(self._certificates, self.stored.soonest())),
            out.gauge(*self._failing()),
        ]
        if self._sources.config.admin.planb_names:
            parts.append(exposition.planb(out, total, chosen))
        parts.append([out.end()])
        return StreamingResponse(_chunks(parts), media_type=OPENMETRICS if openmetrics else TEXT)

    async def _states(self, out: Exposition, chosen: Iterable[str]) -> list[Iterable[str]]:
        """Backends of frontends that are shown and whose route is in memory, by their states."""
        counts = Counter({"live": 0, "dead": 0})
        known: list[tuple[str, str, bool]] = []
        async for key in in_turns(chosen):
            route = self._sources.routes.in_memory(key)
            if route is not None:
                states = state.backend_states(route, self._sources.config)
                counts.update(states.values())
                known += [(key, url, name not in state.DOWN) for url, name in states.items()]
        family = Family("backends", "Backends of the frontends shown, by state.", ("state",))
        by_state = [(f'state="{name}"', float(count)) for name, count in sorted(counts.items())]
        return [out.gauge(family, by_state), by_backend.up(out, known)]

    def _certificates(
        self, stored: Iterable[tuple[str, datetime]]
    ) -> tuple[Family, list[tuple[str, float]]]:
        family = Family(
            "certificate_expiry_timestamp_seconds",
            "When a certificate expires, in Unix time.",
            ("file",),
        )
        ends = [*expiries(self._sources.config.https.binds), *stored]
        return family, [
            (f'file="{exposition.escaped(name)}"', end.timestamp())
            for name, end in ends
            if isinstance(end, datetime)
        ]

    def _failing(self) -> tuple[Family, list[tuple[str, float]]]:
        family = Family(
            "certificate_retry_timestamp_seconds",
            "When a certificate that could not be ordered is tried again, in Unix time.",
            ("file",),
        )
        return family, [
            (f'file="{exposition.escaped(name)}"', at) for name, at in self.stored.failing()
        ]

    async def index(self, request: Request) -> Response:
        """The store whose routes are served, and the paths of this API."""
        return JSONResponse({
            "store": store_names(self._sources.config),
            "openapi": "/api/openapi.json",
            "paths": list(DESCRIPTION["paths"]),
        })  # fmt: skip

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(DESCRIPTION)

    async def workers(self, request: Request) -> Response:
        return JSONResponse(await state.workers(await self._sources.sum()))

    async def frontends(self, request: Request) -> Response:
        total = await self._sources.sum()
        return JSONResponse([each async for each in state.frontends(total, self._bounds)])

    async def backends(self, request: Request) -> Response:
        total = await self._sources.sum()
        only = request.query_params.get("frontend")
        return JSONResponse(await state.backends(total, self._sources, only))

    async def failures(self, request: Request) -> Response:
        return JSONResponse(state.failures(await self._sources.sum()))


async def _chunks(parts: Iterable[Iterable[str]]) -> AsyncIterator[bytes]:
    """The text in chunks. Other tasks run after each chunk."""
    budget, pieces = YieldBudget(), []
    for part in parts:
        for piece in part:
            pieces.append(piece)
            if budget.is_spent:
                yield "".join(pieces).encode()
                pieces.clear()
                await budget.yield_if_spent()
    yield "".join(pieces).encode()
