"""Our requests and answers as httpx shows them: an attribute costs nothing until it is read."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from functools import cached_property
from typing import Any

import httpx

from ..fields.headers import RawHeaders
from ..frontends.backends import SOCKETS, URL_SCHEMES, WEB_PORTS
from ..routing import Backend
from .answer import Answer, OnInterim
from .asker import Asker
from .waiting import Waiter

Body = AsyncIterable[bytes] | bytes | None


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
    """What to send, as bytes. The httpx attributes are made when they are read.

    Making `httpx.URL` and `httpx.Headers` for each request costs several times
    what sending it does; our own transport reads neither.
    """

    failure: Exception | None = None
    """What iterating `body` raised: the client's fault, be it an OSError."""

    on_interim: OnInterim | None = None

    asker: Asker | None = None

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

    @cached_property
    def method(self) -> str:  # type: ignore[override]
        return self.raw_method.decode("ascii")

    @cached_property
    def url(self) -> httpx.URL:  # type: ignore[override]
        scheme, host, port = self.backend.origin
        path = self.target if self.target.startswith(b"/") else b"/"
        if scheme in SOCKETS:
            return httpx.URL(scheme="http", host="localhost", raw_path=path)
        return httpx.URL(
            scheme=URL_SCHEMES.get(scheme, scheme), host=host, port=port, raw_path=path
        )

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
    """An Answer as an httpx.Response, which is made when one of its attributes is read."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __getattr__(self, name: str) -> Any:
        # The first attribute that is missing makes them all.
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


def from_httpx(request: httpx.Request) -> UpstreamRequest:
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
