"""Our engine under httpx's interface: a request and a response cost only what is asked of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import cached_property
from typing import Any

import httpx

from ..errors import RequestBodyMismatch, UpstreamError, UpstreamStale
from ..fields.headers import RawHeaders
from ..frontends.backends import WEB_PORTS
from ..health import IDEMPOTENT
from ..routing import Backend
from .answer import Answer
from .connection import BackendConnection
from .destinations import Destinations
from .pool import Pool, PoolLimits, Waiter
from .pools import Pools

LF = 10

Body = AsyncIterable[bytes] | bytes | None


def request_head(method: bytes, target: bytes, headers: RawHeaders) -> bytes:
    """Request line and fields. Raises ValueError if they would not stay what they are."""
    line = method + b" " + target + b" HTTP/1.1"
    head = b"\r\n".join([line, *map(b": ".join, headers), b"", b""])
    # A line break or a space in a name, value or target would make another request of it.
    if head.count(LF) != len(headers) + 2 or b" " in target:
        raise ValueError("a line break or space where the request must have none")
    return head


class Upload(httpx.AsyncByteStream):
    """A request's body as httpx wants it."""

    def __init__(self, request: UpstreamRequest) -> None:
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._request.body
        if isinstance(body, bytes):
            yield body
        elif body is not None:
            try:
                async for data in body:
                    yield data
            except Exception as failure:
                self._request.failure = failure
                raise


class UpstreamRequest(httpx.Request):
    """What to send, as bytes. The httpx attributes are made when somebody reads them.

    Making `httpx.URL` and `httpx.Headers` for each request costs several times
    what sending it does; our own transport reads neither.
    """

    failure: Exception | None = None
    """What iterating `body` raised: the client's fault, be it an OSError."""

    def __init__(  # noqa: PLR0917 - keywords cost time on this path
        self,
        backend: Backend,
        method: bytes,
        target: bytes,
        headers: RawHeaders,
        body: Body,
        timeouts: dict[str, float | None],
        waiter: Waiter | None = None,
    ) -> None:
        """`waiter`: where it waits already for a connection."""
        # Not super().__init__: it would make all of the below.
        self.backend = backend
        self.raw_method = method
        self.target = target
        self.raw_headers = headers
        self.body = body
        self.waiter = waiter
        self._timeouts = timeouts

    def head(self) -> bytes:
        """Request line and fields. Raises ValueError if they would not stay what they are."""
        return request_head(self.raw_method, self.target, self.raw_headers)

    @cached_property
    def method(self) -> str:  # type: ignore[override]
        return self.raw_method.decode("ascii")

    @cached_property
    def url(self) -> httpx.URL:  # type: ignore[override]
        scheme, host, port = self.backend.origin
        path = self.target if self.target.startswith(b"/") else b"/"
        if scheme == "unix":
            return httpx.URL(scheme="http", host="localhost", raw_path=path)
        return httpx.URL(scheme=scheme, host=host, port=port, raw_path=path)

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]
        return httpx.Headers(self.raw_headers)

    @cached_property
    def stream(self) -> httpx.AsyncByteStream:  # type: ignore[override]
        return Upload(self)

    @cached_property
    def extensions(self) -> dict[str, Any]:  # type: ignore[override]
        return {"target": self.target, "timeout": self._timeouts}


class Download(httpx.AsyncByteStream):
    """An answer's body as httpx wants it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.__aiter__()

    async def aclose(self) -> None:
        await self._answer.aclose()


class UpstreamResponse(httpx.Response):
    """An Answer in the clothes of httpx, which it puts on when looked at."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __getattr__(self, name: str) -> Any:
        # The first attribute that is missing dresses it completely.
        if name.startswith("__") or "stream" in self.__dict__:
            raise AttributeError(name)
        answer = self.answer
        super().__init__(
            answer.status,
            headers=answer.headers,
            stream=Download(answer),
            request=self.__dict__.get("_request"),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": answer.reason},
        )
        return getattr(self, name)


class Transport(httpx.AsyncBaseTransport):
    """Sends over HTTP/1.1 connections that are kept per backend."""

    def __init__(
        self,
        limits: PoolLimits,
        tls: Callable[[], ssl.SSLContext],
        destinations: Destinations | None = None,
    ) -> None:
        self.pools = Pools(limits, tls, destinations)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Raises errors.Upstream* where httpx's transport raises its own."""
        if not isinstance(request, UpstreamRequest):
            request = _from_httpx(request)
        data, body = request.head(), request.body
        upload: AsyncIterable[bytes] | None = None
        length: int | None = 0
        if body is not None:
            length = _length(request.raw_headers)
            if isinstance(body, bytes):
                data += _framed(body, length)
            else:
                upload = body
        method = request.raw_method
        pool = self.pools.of(request.backend.origin)
        checked = _looked_at_twice(method)
        connection = pool.take(checked=checked) if request.waiter is None else None
        if connection is None:
            connection = await pool.wait(request.waiter, checked=checked)
        answer = Answer(connection)
        connection.begin(answer, data, to_head=method == b"HEAD", upload=upload is not None)
        if upload is not None:
            answer.send_body(upload, length)
        try:
            await _headed(answer, pool)
        except UpstreamError:
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
        answer_on: Callable[[BackendConnection], Answer],
        waiter: Waiter | None = None,
    ) -> bool:
        """Send a request without a body, if a kept connection is free, or `waiter` was given one.

        Its Answer is the one that `answer_on` makes.
        """
        pool, checked = self.pools.find(backend.origin), _looked_at_twice(method)
        if pool is None:
            return False
        if waiter is None:
            connection = pool.take(checked=checked)
        else:
            connection = pool.claim(waiter, checked=checked)
        if connection is None:
            return False
        connection.begin(answer_on(connection), head, to_head=method == b"HEAD", upload=False)
        return True

    async def answered(self, backend: Backend, answer: Answer) -> Answer:
        """`answer`, once its head is there; `send_now` began it. Raises UpstreamError."""
        await _headed(answer, self.pools.find(backend.origin))
        return answer

    async def aclose(self) -> None:
        self.pools.close()


def _looked_at_twice(method: bytes) -> bool:
    """Whether the kernel is asked about the connection: this can not be sent again."""
    return method not in IDEMPOTENT


async def _headed(answer: Answer, pool: Pool | None) -> None:
    """Wait for the head; whatever comes instead, nothing is left behind."""
    try:
        await answer.head
    except asyncio.CancelledError:
        answer.abandon()
        raise
    except UpstreamError as error:
        if isinstance(error, UpstreamStale) and pool is not None:
            pool.drop_closed()
        answer.abandon()
        raise


def _length(headers: RawHeaders) -> int | None:
    """Content-Length, or None for a body in chunks. Raises ValueError for neither."""
    fields = {name.lower(): value for name, value in headers}
    if b"transfer-encoding" in fields:
        return None
    if b"content-length" not in fields:
        raise ValueError("a request body needs a length or a transfer coding")
    return int(fields[b"content-length"])


def _framed(body: bytes, length: int | None) -> bytes:
    """A body held whole, as its head announces it."""
    if length is None:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    if length != len(body):
        raise RequestBodyMismatch
    return body


def _from_httpx(request: httpx.Request) -> UpstreamRequest:
    """A request of httpx's own making, such as `client.get(url)` gives."""
    url = request.url
    port = url.port or WEB_PORTS[url.scheme]
    framed = "content-length" in request.headers or "transfer-encoding" in request.headers
    return UpstreamRequest(
        Backend(str(url), 0, url.scheme, url.host, port),
        request.method.encode("ascii"),
        request.extensions.get("target") or url.raw_path,
        request.headers.raw,
        request.stream if framed and isinstance(request.stream, AsyncIterable) else None,
        {},
    )
