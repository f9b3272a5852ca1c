"""Our engine under httpx's interface."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Callable

import httpx

from ..errors import UpstreamError, UpstreamStale
from ..fields.networks import Peers
from ..health import IDEMPOTENT
from ..routing import Backend
from .answer import Answer
from .asker import client_names
from .backend_stream import BackendStream
from .destinations import Destinations
from .httpx_messages import UpstreamRequest, UpstreamResponse, from_httpx
from .limits import PoolLimits
from .pool import Pool
from .pools import Pools
from .request_framing import framed_body, framed_start, request_length
from .streamed_body import RestOfBody, StreamedBody
from .waiting import Waiter


class Transport(httpx.AsyncBaseTransport):
    """Sends over HTTP/1.1 connections that are kept per backend."""

    def __init__(
        self,
        limits: PoolLimits,
        tls: Callable[[], ssl.SSLContext],
        destinations: Destinations | None = None,
        *,
        trusted: Peers = Peers(),  # noqa: B008 - frozen
    ) -> None:
        """`trusted`: our own proxies, who tell whose requests they forward."""
        self.pools = Pools(limits, tls, destinations, client_names(trusted))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Raises errors.Upstream* where httpx's transport raises its own."""
        if not isinstance(request, UpstreamRequest):
            request = from_httpx(request)
        data, body = request.head(), request.body
        length = request_length(request.raw_headers) if body is not None else 0
        if isinstance(body, bytes):
            data += framed_body(body, length)
        stream = await self._stream_for(request)
        upload: AsyncIterable[bytes] | None = None
        if isinstance(body, StreamedBody):
            try:
                data, upload, length = _with_start(data, body, length)
            except BaseException:
                stream.abort()
                raise
        elif not isinstance(body, bytes):
            upload = body
        answer = Answer(stream, request.asker)
        answer.tell_interim = request.on_interim
        stream.begin(
            answer, data, to_head=request.raw_method == b"HEAD", upload=upload is not None,
            chunked=length is None and upload is not None,
        )  # fmt: skip
        if upload is not None:
            answer.send_body(upload, length)
        try:
            await answer.wait_for_head()
        except UpstreamError as error:
            _suspect_others(error, self.pools.find(request.backend.origin))
            raise
        except Exception as failure:
            request.failure = failure
            raise
        return UpstreamResponse(answer)

    async def _stream_for(self, request: UpstreamRequest) -> BackendStream:
        """A stream to the request's backend, its body held while it waits in the queue for one."""
        pool, waiter = self.pools.pool_for(request.backend.origin), request.waiter
        checked = _needs_check(request.raw_method)
        if waiter is None:
            if (stream := pool.take(checked=checked)) is not None:
                return stream
            waiter = pool.queue(request.asker)
            if waiter is not None and isinstance(request.body, StreamedBody):
                try:
                    request.body.wait()
                except BaseException:
                    pool.dequeue(waiter)
                    raise
        return await pool.wait(waiter, checked=checked)

    def send_now(
        self,
        backend: Backend,
        method: bytes,
        head: bytes,
        answer_on: Callable[[BackendStream], Answer],
        waiter: Waiter | None = None,
    ) -> bool:
        """Send a request without a body, if a kept connection is free, or `waiter` was given one.

        Its Answer is the one that `answer_on` makes.
        """
        pool, checked = self.pools.find(backend.origin), _needs_check(method)
        if pool is None:
            return False
        if waiter is None:
            stream = pool.take(checked=checked)
        else:
            stream = pool.claim(waiter, checked=checked)
        if stream is None:
            return False
        stream.begin(answer_on(stream), head, to_head=method == b"HEAD")
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


def _with_start(
    head: bytes, body: StreamedBody, length: int | None
) -> tuple[bytes, AsyncIterable[bytes] | None, int | None]:
    """`head` and what is there of the body, the rest if there is one, and that one's length."""
    start = body.begin()
    if body.complete:
        return head + framed_body(start, length, body.trailers), None, 0
    start, left = framed_start(start, length)
    return head + start, RestOfBody(body), left


def _needs_check(method: bytes) -> bool:
    """Whether the kernel is asked about the connection: this request cannot be sent again."""
    return method not in IDEMPOTENT


def _suspect_others(error: UpstreamError, pool: Pool | None) -> None:
    """Where one kept connection was found closed, look at the others of its pool."""
    if isinstance(error, UpstreamStale) and pool is not None:
        pool.drop_closed()
