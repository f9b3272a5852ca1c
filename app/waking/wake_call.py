"""What the proxy sends while it wakes a frontend: the call to who starts it, and looks at it."""

from __future__ import annotations

import asyncio

import msgspec

from ..errors import ProxyError
from ..frontends.services import Service
from ..routing import Backend, Frontend
from ..upstream.client import UpstreamClient
from ..upstream.own_requests import status_of, told

CALL_WITHIN = 10.0
"""Seconds for the answer to a call."""
LOOK_WITHIN = 2.0
"""Seconds in which a backend that is awake answers."""
FAILING = range(500, 600)
AGENT = (b"user-agent", b"hipache-wake")


async def call(client: UpstreamClient, service: Service, frontend: Frontend) -> str:
    """Say that `frontend` has a request and no backend. Returns "", or why that did not succeed."""
    body = msgspec.json.encode({
        "frontend": frontend.key,
        "identifier": frontend.identifier,
        "backends": [backend.url for backend in frontend.backends],
    })  # fmt: skip
    fields = [
        (b"host", service.host),
        AGENT,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    _, why_not = await told(client, service, fields=fields, body=body, within=CALL_WITHIN)
    return why_not


async def is_awake(client: UpstreamClient, backend: Backend, host: str) -> bool:
    """Whether `backend` takes a connection and answers it, with something else than 5xx."""
    fields = [(b"host", host.encode("latin-1", "replace")), AGENT]
    try:
        async with asyncio.timeout(LOOK_WITHIN):
            return await status_of(client, backend, b"HEAD", b"/", fields=fields) not in FAILING
    except (ProxyError, TimeoutError):
        return False
