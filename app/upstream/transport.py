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
from .request_framing import framed_body, request_length
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
        upload: AsyncIterable[bytes] | None = None
        length: int | None = 0
        if body is not None:
            length = request_length(request.raw_headers)
            if isinstance(body, bytes):
                data += framed_body(body, length)
            else:
                upload = body
        method = request.raw_method
        pool = self.pools.pool_for(request.backend.origin)
        checked = _needs_check(method)
        stream = pool.take(checked=checked) if request.waiter is None else None
        if stream is None:
            waiter = request.waiter or pool.queue(request.asker)
            stream = await pool.wait(waiter, checked=checked)
        answer = Answer(stream, request.asker)
        answer.tell_interim = request.on_interim
        stream.begin(
            answer, data, to_head=method == b"HEAD", upload=upload is not None,
            chunked=length is None and upload is not None,
        )  # fmt: skip
        if upload is not None:
            answer.send_body(upload, length)
        try:
            await answer.wait_for_head()
        except UpstreamError as error:
            _suspect_others(error, pool)
            raise
        except Exception as failure:
            request.failure = failure
            raise
        return UpstreamResponse(answer)

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


def _needs_check(method: bytes) -> bool:
    """Whether the kernel is asked about the connection: this request cannot be sent again."""
    return method not in IDEMPOTENT


def _suspect_others(error: UpstreamError, pool: Pool | None) -> None:
    """Where one kept connection was found closed, look at the others of its pool."""
    if isinstance(error, UpstreamStale) and pool is not None:
        pool.drop_closed()
