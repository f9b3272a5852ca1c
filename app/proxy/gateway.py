"""What HTTP and WebSocket requests have in common: their beginning, their route, their end."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter, time

from starlette.types import Scope

from ..balancing.balancer import Balancer, RequestFacts
from ..config.structs import ServerConfig
from ..errors import BadHost, PassedOn, ProxyError
from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders, field
from ..fields.via import ViaFields
from ..logs.record import AccessRecord
from ..metrics.counters import Counters
from ..routing import Route, normalise_host
from ..server.peer import Peer
from ..server.refusal import Refusal
from ..server.request_head import parse_request_line
from ..stores.routes import Routes
from .attempts import Attempts
from .debug_fields import ASKED, DebugFields
from .guards.gate import Gate
from .health_reports import HealthReports
from .https_policy import HttpsPolicy
from .pages import ErrorPages
from .request import Request
from .request_ids import RequestIds

CLIENT_LEFT = 499
"""What the log says of a request whose client did not wait for an answer (nginx's word for it)."""

MAX_NAMES = 8192
_HOST_LINE = re.compile(rb"\n[Hh]ost:[ \t]*([^\r\n]{1,255})")


class HostNames(dict[bytes, str]):
    """Host fields as they were read: the same few thousand come again and again, at 2 us each.

    Not an lru_cache: to put one of thousands first costs more than to find it.
    """

    def __missing__(self, host: bytes) -> str:
        name = normalise_host(host)
        if len(self) >= MAX_NAMES:
            self.clear()
        self[host] = name
        return name


class Gateway:
    """Everything that the requests of one worker share."""

    def __init__(
        self,
        *,
        routes: Routes,
        balancer: Balancer,
        reports: HealthReports,
        pages: ErrorPages,
        forwarded: ForwardedFields,
        log: Callable[[AccessRecord], None] | None,
        server: ServerConfig,
        https: HttpsPolicy,
        gate: Gate,
        debug: DebugFields,
        hop: bytes,
        counters: Counters | None = None,
        worker: int = 0,
        attempts: Callable[..., Attempts] = Attempts,
    ) -> None:
        """`hop` is this proxy's name in `Via`, `worker` this one's number, for the log;
        `counters` get every request; `attempts` makes Attempts, or what does more."""
        self._via = ViaFields(hop)
        self.https = https
        self.in_flight = 0
        self.lasting = 0
        """Of these, WebSockets that are open: they ask no backend for anything any more."""
        self._debug = debug
        name = server.request_id_header
        self._id_field = name.lower().encode("ascii") if name is not None else None
        self.attempts = attempts(
            balancer,
            reports,
            retries=server.retry_on_error,
            queue_timeout=server.queue_timeout,
            in_flight=lambda: self.in_flight - self.lasting,
            debug=debug,
            counters=counters,
            id_field=self._id_field,
        )
        self._counters = counters
        self._options = balancer.options
        self.loads = balancer.loads
        self._gate = gate
        self._overload = gate.overload
        self._routes = routes
        self._pages = pages
        self._forwarded = forwarded
        self._log = log
        self._worker = worker
        self._ids = RequestIds()
        self._names = HostNames()

    @property
    def ready(self) -> bool:
        """Whether a store was reached (or a snapshot loaded) at least once."""
        return self._routes.ready

    # The life of a request

    def begin_scope(self, scope: Scope) -> Request:
        """The request in an ASGI scope, begun."""
        return self.begin(Request.of(scope))

    def begin(self, request: Request) -> Request:
        """Count the request in, give it our fields and a log record. `end` it."""
        headers, client, peer = request.headers, request.client, request.peer
        port = peer.server[1] if peer.server else 0
        request_id = self._request_id(headers, client)
        ours = request.ours = self._forwarded.build(
            headers, client, peer.scheme, port, request.host
        )
        ours.append(self._via[request.http_version])
        ours.append((b"x-request-id", request_id.encode("latin-1")))
        if peer.subject is not None:
            ours.append((b"x-client-cert-subject", peer.subject))
        request.facts = RequestFacts(client, headers)
        request.record = record = AccessRecord(time())
        record.request_id = request_id
        request.started = perf_counter()
        connection = request.connection
        if connection.asks_debug if connection is not None else field(headers, ASKED) is not None:
            request.debug = self._debug.granted(headers, client)
        self.in_flight += 1
        return request

    def end(self, request: Request) -> None:
        """The last byte is out, or nobody waits for it any more: count it, write the log."""
        self.in_flight -= 1
        if request.place is not None:
            request.place.leave()
        record = request.record
        record.total_time = perf_counter() - request.started
        if request.client_left:
            record.set_failure(CLIENT_LEFT, "client left")
        if self._counters is not None:
            key = request.route.frontend.key if request.route is not None else ""
            url = request.backend.url if request.backend is not None else None
            self._counters.ended(record, key, url, request.method, request.host)
        if self._log is not None:
            self._describe(request)
            self._log(record)

    def _describe(self, request: Request) -> None:
        """What the request itself has to say in its record."""
        record = request.record
        record.worker = self._worker
        record.client = self._forwarded.true_client(request.headers, request.client)
        record.method = request.method.decode("ascii")
        record.target = request.target
        record.http_version = request.http_version
        record.scheme, record.tls = request.peer.scheme, request.peer.tls
        record.host = request.host.decode("latin-1")
        for name, value in request.headers:
            if name == b"user-agent":
                record.user_agent = value
            elif name == b"referer":
                record.referer = value
        if request.route is not None:
            record.frontend = request.route.frontend.key
            record.identifier = request.route.frontend.identifier
        if request.backend is not None:
            record.backend = request.backend.url

    def refused(self, peer: Peer, head: bytes, refusal: Refusal) -> None:
        """Count and log what our own server refused before it was a request; `head` as far as it
        came."""
        if self._counters is not None:
            self._counters.count("refused_requests", str(refusal.status))
        if self._log is None:
            return
        record = AccessRecord(time())
        record.client, record.scheme, record.tls = peer.address, peer.scheme, peer.tls
        record.worker = self._worker
        record.request_id = self._ids.new()
        with suppress(Refusal):  # without a request line there is none to tell
            line = head.partition(b"\r\n")[0]
            method, record.target, record.http_version = parse_request_line(line)
            record.method = method.decode("ascii")
        if found := _HOST_LINE.search(head):
            record.host = found[1].decode("latin-1")
        record.status, record.error = refusal.status, refusal.reason
        record.bytes_out = 0 if head.startswith(b"HEAD ") else len(refusal.body)
        self._log(record)

    def _request_id(self, headers: RawHeaders, client: str) -> str:
        if self._forwarded.trusts(client):
            claimed = field(headers, b"x-request-id")
            if claimed and len(claimed) <= 200:
                return claimed.decode("latin-1")
        return self._ids.new()

    def id_field(self, request: Request) -> RawHeaders:
        """What tells the client the request's id, where `server.requestIdHeader` says so."""
        if self._id_field is None:
            return []
        return [(self._id_field, request.record.request_id.encode("latin-1"))]

    def known_route(self, request: Request) -> Route | None:
        """The route, if memory has it; None: `find_route` has to ask. Raises BadHost."""
        if not request.host:
            raise BadHost
        route = request.route = self._routes.known(self._names[request.host])
        return route

    async def find_route(self, request: Request) -> Route:
        """Look the host up. Raises BadHost, FrontendNotFound, StoreUnavailable."""
        route = self.known_route(request)
        if route is None:
            route = request.route = await self._routes.find(self._names[request.host])
        return route

    def elsewhere(self, request: Request, route: Route) -> bytes | None:
        """The https URL that the client is sent to instead, None if it may stay."""
        return self.https.elsewhere(route, request.host, request.target, request.ours)

    def admit(self, request: Request, route: Route) -> Awaitable[None] | None:
        """Let a request pass to the backends of its route; raises the ProxyError that answers it.

        None: it may pass. Else the answer is elsewhere: await it, which may raise, too.
        """
        if self._overload.active:
            self._overload.check(route.frontend.key)
        protection = self._options(route).protection
        if protection is None:
            return None
        return self._gate.examine(request, route, protection)

    def error_page(self, request: Request, error: ProxyError) -> tuple[RawHeaders, bytes]:
        """Fields and body of our own answer, or of whoever gave one in our place."""
        request_id = request.record.request_id
        if isinstance(error, PassedOn):
            fields, body = list(error.fields), error.body
        else:
            accept = field(request.headers, b"accept") or b""
            fields, body = self._pages.render(error, accept=accept, request_id=request_id)
        fields += self.id_field(request)
        if request.debug:
            fields += self._debug.of_error(str(error))
        return fields, body
