"""The one place that decides what becomes of a request, and in which order.

1. A probe of the proxy itself (`Host: __ping__`) gets the proxy's own answer. It is no
   request to a site: callers ask `probe` before a request begins, so a probe is neither
   counted nor logged.
2. A path of the proxy's own gets its own answer.
3. The `Host` field and the path name the route. The store may have to be asked.
4. A frontend that insists on TLS redirects a client that came without it.
5. An overloaded worker refuses the request.
6. While the frontend is paused the request waits, and is decided from 3 on once more.
   The frontend's access rules refuse it, let it pass, or have to ask somebody.
7. A request that has come through this proxy too often is a loop.

What is left goes to a backend of the route. Where the proxy may connect is decided when
a connection is made (app.upstream.destinations): only then is the address certain.

HTTP requests with and without a task, WebSockets and `hipache explain` all ask here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeAlias

from ..errors import BadHost
from ..fields.remembering import Memo
from ..frontends.options import Options
from ..frontends.protection import Protection
from ..routing import Route, normalise_host
from ..stores.routes import Routes
from .backend_fields import fields_of
from .guards.overload import Overload
from .guards.pauses import Pauses
from .https_policy import REDIRECT, redirect_location
from .request import Request
from .stripping import strip_prefix

MAX_NAMES = 8192
"""`Host` fields that are remembered as parsed: the same few thousand come again and again."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The client is sent to `location`."""

    location: bytes
    status: int = REDIRECT


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """The proxy answers by itself."""

    status: int
    body: bytes
    content_type: bytes = b"text/plain"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """More of them."""


Decision: TypeAlias = Route | Redirect | OwnAnswer
"""A Route: the request may go to its backends, and `request.fields` are what they get."""
Undecided: TypeAlias = Awaitable["Decision | Undecided"]
"""Await it, and what it may give to be awaited, until there is a decision."""
Decide: TypeAlias = Callable[[Request], Decision | Undecided]
OwnPath: TypeAlias = Callable[[bytes, bytes], OwnAnswer | Awaitable[OwnAnswer | None] | None]
"""Host field and target -> the proxy's answer; None: the request goes on to its route. Where
that has to be asked for, it is awaited."""


class Examine(Protocol):
    """Applies a frontend's access rules (`Gate.examine`)."""

    def __call__(
        self, request: Request, route: Route, protection: Protection
    ) -> Awaitable[None] | None:
        """Raise the ProxyError that refuses the request, at once or in what is returned."""


class Decisions:
    """Decides for one worker."""

    def __init__(
        self,
        *,
        routes: Routes,
        options: Callable[[Route], Options],
        examine: Examine,
        overload: Overload,
        https_port: int = 443,
        paths: Mapping[bytes, OwnPath] = MappingProxyType({}),
        pauses: Pauses | None = None,
    ) -> None:
        """`https_port` is where redirects lead; `paths` are the proxy's own, by prefix.

        Without `pauses` a paused site is decided as if it were not.
        """
        self._pauses = pauses
        self._routes = routes
        self.options = options
        self._examine = examine
        self._overload = overload
        self._https_port = https_port
        self._paths = paths
        self._prefixes = tuple(paths)
        self.probes = {b"__ping__": self._ping, b"__ready__": self._ready}
        """The `Host` fields of probes, and what answers them."""
        self._names = Memo(normalise_host, MAX_NAMES)
        self.decide: Decide = self._by_path if paths else self._by_host
        """What becomes of a request that has begun; await what is not a Decision yet.

        Raises the ProxyError that refuses the request; so may what is awaited. Without paths
        of the proxy's own, no request pays for the question.
        """

    def probe(self, host: bytes) -> OwnAnswer | None:
        """The answer to a probe, None for a request to a site."""
        answer = self.probes.get(host)
        return None if answer is None else answer()

    def _by_path(self, request: Request) -> Decision | Undecided:
        if request.target.startswith(self._prefixes):
            answer = self._on_path(request)
            if answer is not None:
                return answer
        return self._by_host(request)

    def _by_host(self, request: Request) -> Decision | Undecided:
        host = request.host
        if not host:
            raise BadHost
        route = request.route = self._routes.known(self._names[host], request.target)
        return self._find(request) if route is None else self._on_route(request, route)

    def _on_path(self, request: Request) -> OwnAnswer | Undecided | None:
        target = request.target
        for prefix, path in self._paths.items():
            if target.startswith(prefix):
                answer = path(request.host, target)
                if isinstance(answer, OwnAnswer):
                    return answer
                if answer is not None:
                    return self._once_asked(answer, request)
        return None

    async def _once_asked(
        self, asking: Awaitable[OwnAnswer | None], request: Request
    ) -> Decision | Undecided:
        return await asking or self._by_host(request)

    async def _find(self, request: Request) -> Decision | Undecided:
        """Raises FrontendNotFound and StoreUnavailable, too."""
        name = self._names[request.host]
        route = request.route = await self._routes.find(name, request.target)
        return self._on_route(request, route)

    def _on_route(self, request: Request, route: Route) -> Decision | Undecided:
        record, frontend = request.record, route.frontend
        record.frontend, record.identifier = frontend.key, frontend.identifier
        options = self.options(route)
        if options.redirect:
            location = redirect_location(
                request.host, request.target, request.ours, self._https_port,
                web_socket=request.web_socket,
            )  # fmt: skip
            if location is not None:
                return Redirect(location)
        if self._overload.active:
            self._overload.check(frontend.key)
        if options.protection is not None:
            if options.protection.pause and self._pauses is not None and _waits(options.protection):
                return self._once_resumed(self._pauses, request, options.protection.pause)
            pending = self._examine(request, route, options.protection)
            if pending is not None:
                return self._once_admitted(pending, request, route)
        if options.strip and frontend.prefix:
            strip_prefix(request, frontend.prefix.encode())
        request.fields = fields_of(request)
        return route

    async def _once_resumed(self, pauses: Pauses, request: Request, longest: int) -> Decision:
        """Decide once more when the site goes on: it may have moved to other backends."""
        host, target = self._names[request.host], request.target

        async def is_paused() -> bool:
            route = self._routes.known(host, target) or await self._routes.find(host, target)
            protection = self.options(route).protection
            return protection is not None and protection.pause > 0 and _waits(protection)

        await pauses.wait(is_paused, longest)
        return await settled(self._by_host(request))

    async def _once_admitted(
        self, pending: Awaitable[None], request: Request, route: Route
    ) -> Route:
        await pending  # it may change the request's fields
        frontend = route.frontend
        if self.options(route).strip and frontend.prefix:
            strip_prefix(request, frontend.prefix.encode())
        request.fields = fields_of(request)
        return route

    # Probes

    def _ping(self) -> OwnAnswer:
        """This worker lives. The name is Hipache's."""
        return OwnAnswer(200, b"ok")

    def _ready(self) -> OwnAnswer:
        """This worker has reached its store, or has loaded a snapshot, at least once."""
        if self._routes.ready:
            return OwnAnswer(200, b"ok")
        return OwnAnswer(503, b"no route store has been reached yet")


def _waits(protection: Protection) -> bool:
    """Requests of a paused site wait, unless they are refused anyway."""
    return protection.maintenance is None and not protection.unreadable


SETTLED = (Route, Redirect, OwnAnswer)


async def settled(decision: Decision | Undecided) -> Decision:
    """A decision, once it is made."""
    while not isinstance(decision, SETTLED):
        decision = await decision
    return decision
