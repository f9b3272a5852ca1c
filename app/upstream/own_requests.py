"""Requests of the proxy's own: checks, questions to forwardAuth, calls that wake, error pages."""

from __future__ import annotations

import asyncio

from ..errors import ProxyError, UpstreamStale
from ..fields.headers import RawHeaders
from ..frontends.backends import SOCKETS
from ..frontends.services import Service
from ..frontends.site import host_of
from ..health import REPLACEMENTS
from ..routing import Backend, Frontend
from .client import AnyAnswer, UpstreamClient


async def own_request(
    client: UpstreamClient,
    backend: Backend,
    method: bytes,
    target: bytes,
    *,
    fields: RawHeaders,
    body: bytes | None = None,
) -> AnyAnswer:
    """Send it; returns when the final head of its answer is there.

    A kept connection that was closed says nothing of the backend, so it is replaced, as for a
    client's request. The request may then be sent twice (RFC 9112 §9.3.1), so it must bear that.
    Raises errors.UpstreamError.
    """
    for _ in range(REPLACEMENTS):
        try:
            return await client.open(backend, method, target, fields, body)
        except UpstreamStale:
            continue
    return await client.open(backend, method, target, fields, body)


async def status_of(
    client: UpstreamClient,
    backend: Backend,
    method: bytes,
    target: bytes,
    *,
    fields: RawHeaders,
    body: bytes | None = None,
) -> int:
    """The status of the answer, whose body is not read."""
    answer = await own_request(client, backend, method, target, fields=fields, body=body)
    await answer.aclose()
    return answer.status


async def told(
    client: UpstreamClient, service: Service, *, fields: RawHeaders, body: bytes, within: float
) -> tuple[int, str]:
    """POST `body` to a program of a user's. The status, 0 if none came in `within` seconds, and
    why it was not taken: empty for 2xx."""
    try:
        async with asyncio.timeout(within):
            status = await status_of(
                client, service.backend, b"POST", service.target, fields=fields, body=body
            )
    except TimeoutError:
        return 0, f"no answer in {within:g} s"
    except ProxyError as error:
        return 0, str(error)
    return status, "" if 200 <= status < 300 else f"status {status}"


def host_for(frontend: Frontend, backend: Backend) -> bytes:
    """`Host` of a request to a backend: the site's name, or the backend's where the key is a
    wildcard."""
    if not frontend.key.startswith("*"):
        return host_of(frontend.key).encode()
    if backend.scheme in SOCKETS:
        return b"localhost"
    host = f"[{backend.host}]" if ":" in backend.host else backend.host
    return f"{host}:{backend.port}".encode()
