"""Which transport a request takes in a test: respx where it is active, else real sockets."""

from __future__ import annotations

import sys
from ipaddress import ip_address

import httpx

from ..config.structs import Config
from ..frontends.backends import SOCKETS
from ..upstream.destinations import Destinations
from ..upstream.httpx_messages import UpstreamRequest
from ..upstream.limits import pool_limits
from ..upstream.tls_contexts import context_source
from ..upstream.transport import Transport


class MockedTransport(httpx.AsyncBaseTransport):
    """Asks every active router of respx; without one it connects, to loopback only.

    `respx.mock` by itself replaces httpx's own transports, and the proxy's is another one.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._real: Transport | None = None

    async def __aenter__(self) -> MockedTransport:
        """Make the transport of this event loop."""
        server = self._config.server
        self._real = Transport(
            pool_limits(server), context_source(self._config.backend_tls),
            Destinations(server.deny_backends.value), trusted=server.trusted_proxies.value,
        )  # fmt: skip
        return self

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Raises what the transports raise."""
        assert self._real is not None
        mocked = _active_respx()
        if mocked is not None:
            from respx.models import PassThrough

            try:
                return await mocked.handle_async_request(request)
            except PassThrough:
                pass
        if isinstance(request, UpstreamRequest):
            _check_loopback(request)
        return await self._real.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._real is not None:
            await self._real.aclose()


def _active_respx() -> httpx.MockTransport | None:
    """The routers that respx has started in this process, None without one."""
    mocks = sys.modules.get("respx.mocks")
    if mocks is not None:
        for mocker in mocks.Mocker.registry.values():
            if mocker.routers:
                return httpx.MockTransport(mocker.async_handler)
    return None


def _check_loopback(request: UpstreamRequest) -> None:
    """Names are not resolved: a test asks no name server. Raises httpx.ConnectError."""
    backend = request.backend
    if backend.scheme in SOCKETS or backend.host == "localhost":
        return
    try:
        if ip_address(backend.host.strip("[]")).is_loopback:
            return
    except ValueError:
        pass
    raise httpx.ConnectError(
        f"a test connects to loopback only, not to {backend.url}: mock it with respx, "
        "or take a LoopbackBackend"
    )
