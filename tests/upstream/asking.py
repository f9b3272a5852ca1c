"""Short forms for what every test of the engine does."""

from __future__ import annotations

from typing import NamedTuple

from app.fields.headers import RawHeaders
from app.frontends.backends import offering_http2, parse_backend
from app.upstream.answer import Answer
from app.upstream.client import UpstreamClient
from app.upstream.httpx_messages import Body


class Read(NamedTuple):
    """An answer that was read to its end and closed."""

    status: int
    headers: RawHeaders
    body: bytes
    connect_time: float | None
    reason: bytes


async def opened(
    client: UpstreamClient,
    url: str,
    *fields: bytes,
    method: bytes = b"GET",
    target: bytes = b"/",
    body: Body = None,
    http2: bool = False,
) -> Answer:
    """The answer to a request; `fields` are whole lines: b"X-A: b".

    `http2` is offered to a backend with TLS, as the option of that name says.
    """
    headers = [tuple(field.split(b": ", 1)) for field in (b"Host: x.org", *fields)]
    backend = offering_http2(parse_backend(url, 0), on=http2)
    answer = await client.open(backend, method, target, headers, body)
    assert isinstance(answer, Answer)
    return answer


async def read(answer: Answer) -> Read:
    """`answer` to its end."""
    try:
        body = b"".join([data async for data in answer])
    finally:
        await answer.aclose()
    return Read(answer.status, answer.headers, body, answer.connect_time, answer.reason)


async def asked(client: UpstreamClient, url: str, *fields: bytes, **request: object) -> Read:
    """The whole answer to a request."""
    return await read(await opened(client, url, *fields, **request))  # type: ignore[arg-type]
