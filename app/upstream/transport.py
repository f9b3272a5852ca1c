"""Our engine under httpx's interface."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence

import httpx

from ..errors import UpstreamError, UpstreamStale
from ..fields.headers import RawHeaders
from ..fields.networks import Peers
from ..fields.trailers import Trailers
from ..health import IDEMPOTENT
from ..routing import Backend
from ..system.worker_team import WorkerTeam
from .answer import Answer
from .asker import client_names
from .backend_stream import BackendStream
from .destinations import Destinations
from .httpx_messages import UpstreamRequest, UpstreamResponse, from_httpx
from .limits import PoolLimits
from .pool import Pool
from .pools import Pools
from .request_framing import check_head, check_length, length_left, request_length
from .streamed_body import RestOfBody, StreamedBody, in_parts
from .tls_contexts import ContextSource
from .waiting import Waiter


class Transport(httpx.AsyncBaseTransport):
    """Sends over HTTP/1.1 connections that are kept per backend."""

    def __init__(
        self,
        limits: PoolLimits,
        tls: ContextSource,
        destinations: Destinations | None = None,
        *,
        trusted: Peers = Peers(),  # noqa: B008 - frozen
        team: WorkerTeam | None = None,
    ) -> None:
        """`trusted`: our own proxies, who tell whose requests they forward. `team` as for Pools."""
        self.pools = Pools(limits, tls, destinations, client_names(trusted), team)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Raises errors.Upstream* where httpx's transport raises its own."""
        if not isinstance(request, UpstreamRequest):
            request = from_httpx(request)
        body = request.body
        length = request_length(request.raw_headers) if body is not None else 0
        if isinstance(body, bytes):
            check_length(body, length)
        pool = self.pools.pool_for(request.backend.origin)
        checked = body is not None or request.raw_method not in IDEMPOTENT
        stream = pool.take(checked=checked) if request.waiter is None else None
        if stream is None:
            stream = await self._awaited_stream(request, pool, checked)
        answer = Answer(stream, request.asker)
        answer.tell_interim = request.on_interim
        try:
            if body is None:
                stream.begin(answer, request.raw_method, request.target, request.raw_headers)
            else:
                _begin(
                    stream, answer, request.raw_method, request.target, request.raw_headers,
                    body, length,
                )  # fmt: skip
        except BaseException:
            stream.abort()
            raise
        try:
            await answer.wait_for_head()
        except UpstreamError as error:
            _suspect_others(error, pool)
            raise
        except Exception as failure:
            request.failure = failure
            raise
        return UpstreamResponse(answer)

    async def _awaited_stream(
        self, request: UpstreamRequest, pool: Pool, checked: bool
    ) -> BackendStream:
        """A stream that is made, or waited for in the queue; the request's body is held meanwhile.

        `checked` is as for `Pool.take`.
        """
        waiter = request.waiter
        if waiter is None:
            check_head(request.target, request.raw_headers)  # before a connection is made for it
            waiter = pool.queue(request.asker)
            if waiter is not None and isinstance(request.body, StreamedBody):
                try:
                    request.body.wait()
                except BaseException:
                    pool.dequeue(waiter)
                    raise
        return await pool.wait(waiter, checked=checked)

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
        """Send a request, if a kept connection is free, or `waiter` was given one.

        `answer` is a new one; all of `body` is here.
        """
        pool = self.pools.find(backend.origin)
        if pool is None:
            return False
        length = request_length(headers) if body is not None else 0
        checked = body is not None or method not in IDEMPOTENT
        if waiter is None:
            stream = pool.take(checked=checked)
        else:
            stream = pool.claim(waiter, checked=checked)
        if stream is None:
            return False
        try:
            answer.use(stream)
            if body is None:
                stream.begin(answer, method, target, headers)
            else:
                _begin(stream, answer, method, target, headers, body, length)
        except BaseException:
            stream.abort()
            raise
        return True

    async def answered(self, backend: Backend, answer: Answer) -> Answer:
        """`answer`, once its head is there; `send_now` began it. Raises UpstreamError."""
        try:
            await answer.wait_for_head()
        except UpstreamError as error:
            _suspect_others(error, self.pools.find(backend.origin))
            raise
        return answer

    async def aclose(self) -> None:
        self.pools.close()


def _begin(  # noqa: PLR0917 - keywords cost time on this path
    stream: BackendStream,
    answer: Answer,
    method: bytes,
    target: bytes,
    headers: RawHeaders,
    body: AsyncIterable[bytes] | bytes,
    length: int | None,
) -> None:
    """Send the request's head and what is there of its body; the rest follows, if there is one."""
    left = length
    upload: AsyncIterable[Sequence[bytes]] | None = None
    trailers: Trailers = ()
    if isinstance(body, StreamedBody):
        start = body.begin()
        if body.complete:
            check_length(start, length)
            trailers = body.trailers
        else:
            upload, left = RestOfBody(body), length_left(start, length)
    elif isinstance(body, bytes):
        start = body
    else:
        start, upload = b"", in_parts(body)
    stream.begin(
        answer, method, target, headers, start,
        upload=upload is not None, chunked=length is None, trailers=trailers,
    )  # fmt: skip
    if upload is not None:
        answer.send_body(upload, left)


def _suspect_others(error: UpstreamError, pool: Pool | None) -> None:
    """Where one kept connection was found closed, look at the others of its pool."""
    if isinstance(error, UpstreamStale) and pool is not None:
        pool.drop_closed()
