"""The worker's one httpx client: sends exactly what it is given, to the backend it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from .. import errors
from ..config.structs import Config
from ..fields.headers import RawHeaders
from ..routing import Backend
from ..system.worker_team import WorkerTeam, joined_team
from .answer import Answer, OnInterim
from .asker import Asker
from .destinations import Bound, Destinations
from .httpx_messages import Body, UpstreamRequest, UpstreamResponse
from .limits import pool_limits
from .protocol_upgrades import UpgradeAnswer, Upgrades
from .single_requests import SingleRequests
from .streamed_body import StreamedBody
from .tls_contexts import context_source
from .transport import Transport
from .waiting import Waiter

# There are no mounts, so the URL does not choose the transport; respx replaces the method.
ANYWHERE = httpx.URL("http://backend.invalid")


class UpstreamClient(httpx.AsyncClient):
    """Keeps no cookies, follows nothing, reads no environment, adds no field.

    `transport` takes the place of our own: `httpx.MockTransport`, respx's
    router or any other of httpx's. Use it within one event loop.
    `listening` returns the addresses of this proxy's own listeners: it never connects there.
    `team`: the workers that share `server.maxSockets`; None where each counts for itself.
    Raises ConfigError where a file of `backendTLS` cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        listening: Callable[[], Iterable[Bound]] = lambda: (),
        team: WorkerTeam | None = None,
    ) -> None:
        server = config.server
        destinations = Destinations(server.deny_backends.value, listening)
        limits, tls = pool_limits(server), context_source(config.backend_tls)
        trusted = server.trusted_proxies.value
        ours = (
            None if transport
            else Transport(limits, tls, destinations, trusted=trusted, team=team)
        )  # fmt: skip
        self._upgrades = Upgrades(limits, tls, destinations)
        self.team = team
        self.ask_alone = SingleRequests(limits.connect, tls, destinations).ask
        """Sends a request over HTTP/1.1 on a connection of its own, by our own transport."""
        self.pools = ours.pools if ours else None
        """The connections of our own transport."""
        super().__init__(transport=transport or ours, trust_env=False)
        self._timeouts = {
            "connect": server.connect_timeout or None,
            "read": server.tcp_timeout or None,
            "write": server.tcp_timeout or None,
            "pool": server.queue_timeout or None,
        }

    async def open(
        self,
        backend: Backend,
        method: bytes,
        target: bytes,
        headers: RawHeaders,
        body: Body,
        *,
        asker: Asker | None = None,
        waiter: Waiter | None = None,
        on_interim: OnInterim | None = None,
    ) -> AnyAnswer:
        """Send a request; returns when the final head of its answer is there.

        `asker` is the client's request, `waiter` what `queue` gave for it; `on_interim` hears of
        the 1xx answers before.

        `headers` go out as they are, so they must frame `body`: with
        Content-Length, or Transfer-Encoding for one of unknown length.
        Raises errors.UpstreamError, and whatever iterating `body` raises.
        """
        request = UpstreamRequest(backend, method, target, headers, body, self._timeouts, waiter)
        request.on_interim = on_interim
        request.asker = asker
        transport = self._transport_for_url(ANYWHERE)
        try:
            response = await transport.handle_async_request(request)
        except (httpx.TransportError, OSError) as exc:
            if request.failure is not None:
                raise request.failure from None
            raise _translated(exc) from exc
        if isinstance(response, UpstreamResponse):
            return response.answer
        return ForeignAnswer(response)

    def send_now(  # noqa: PLR0917 - keywords cost time on this path
        self,
        backend: Backend,
        method: bytes,
        target: bytes,
        headers: RawHeaders,
        answer: Answer,
        waiter: Waiter | None = None,
        body: StreamedBody | None = None,
    ) -> bool:
        """Send a request, if that needs no waiting any more; else `open` will do it.

        `answer` is a new one; `waiter` is what `queue` gave, and its time has come. All of `body`
        is here.
        """
        transport = self._transport_for_url(ANYWHERE)
        if not isinstance(transport, Transport):
            return False
        return transport.send_now(backend, method, target, headers, answer, waiter, body)

    def queue(self, backend: Backend, asker: Asker | None) -> Waiter | None:
        """Join the queue for a stream, where nothing is left but to wait; else None.

        `send_now` and, where that sends nothing, `open` must follow when it is done,
        or `dequeue` at any time.
        """
        pool = self.pools.find(backend.origin) if self.pools is not None else None
        try:
            return pool.queue(asker) if pool is not None else None
        except errors.UpstreamBusy:
            return None  # `open` will say so

    def dequeue(self, backend: Backend, waiter: Waiter) -> None:
        """Give `waiter` up."""
        pool = self.pools.find(backend.origin) if self.pools is not None else None
        if pool is not None:  # else all waiters were refused
            pool.dequeue(waiter)

    async def answered(self, backend: Backend, answer: Answer) -> Answer:
        """`answer`, which `send_now` began, once its head is there. Raises UpstreamError."""
        transport = self._transport
        assert isinstance(transport, Transport)
        return await transport.answered(backend, answer)

    async def upgrade(self, backend: Backend, target: bytes, headers: RawHeaders) -> UpgradeAnswer:
        """Ask `backend` to switch protocols, on a connection outside the pools.

        Raises errors.UpstreamError.
        """
        return await self._upgrades.ask(backend, target, headers)

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **_: Any
    ) -> httpx.Response:
        """httpx's own way in, for `client.get` and its kin: straight to the transport."""
        response = await self._transport_for_url(ANYWHERE).handle_async_request(request)
        response.request = request
        if not stream:
            await response.aread()
        return response


class ForeignAnswer:
    """What another transport answered, with the interface of Answer."""

    connect_time: float | None = None

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: RawHeaders = [(n.lower(), v) for n, v in response.headers.raw]
        self.reason = response.reason_phrase.encode("latin-1")
        self.trailers: RawHeaders = []
        stream = response.stream
        self.whole = b"".join(stream) if isinstance(stream, httpx.ByteStream) else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            async for data in stream:  # not aiter_raw(), which a mocked response refuses
                yield data
        except httpx.TimeoutException as exc:
            raise errors.UpstreamTimeout from exc
        except httpx.TransportError as exc:
            raise errors.UpstreamCut from exc

    async def aclose(self) -> None:
        """Give the answer up."""
        await self._response.aclose()


AnyAnswer: TypeAlias = Answer | ForeignAnswer


async def body_of(answer: AnyAnswer, most: int) -> bytes | None:
    """The whole body of an answer, None if it has more than `most` bytes. Raises UpstreamError."""
    body = answer.whole or b""
    if answer.whole is None:
        async for chunk in answer:
            body += chunk
            if len(body) > most:
                break
    return body if len(body) <= most else None


# The first that fits; the order of httpx's tree.
_OURS: tuple[tuple[type[Exception], type[errors.UpstreamError]], ...] = (
    (httpx.ConnectTimeout, errors.UpstreamConnectTimeout),
    (httpx.ConnectError, errors.UpstreamUnreachable),
    (httpx.UnsupportedProtocol, errors.UpstreamUnreachable),
    (httpx.PoolTimeout, errors.UpstreamBusy),
    (httpx.TimeoutException, errors.UpstreamTimeout),
    (httpx.RemoteProtocolError, errors.UpstreamBadAnswer),
    (ConnectionRefusedError, errors.UpstreamUnreachable),
    (TimeoutError, errors.UpstreamTimeout),
)


def _translated(exc: Exception) -> errors.UpstreamError:
    """What another transport raised, as what it means to us."""
    ours = next((ours for theirs, ours in _OURS if isinstance(exc, theirs)), errors.UpstreamReset)
    return ours(str(exc) or None)


@asynccontextmanager
async def upstream_client(
    config: Config,
    shared: Path | None,
    listening: Callable[[], Iterable[Bound]],
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[UpstreamClient]:
    """The worker's client, with the others who share that folder where the configuration says so.

    The rest as for UpstreamClient.
    """
    with joined_team(shared, config.server.max_sockets_shared) as team:
        async with UpstreamClient(
            config, transport=transport, listening=listening, team=team
        ) as client:
            yield client
