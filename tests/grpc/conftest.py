"""A proxy, a gRPC service behind it, and a channel."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest

from tests.grpc.calls import Service, calling, service
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying


@pytest.fixture
async def proxy(valkey: RedisServer, either_way: None) -> AsyncIterator[Proxy]:
    async with proxying(valkey, http2=True, retryOnError=1) as proxy:
        yield proxy


@pytest.fixture
async def served(proxy: Proxy) -> AsyncIterator[Service]:
    async with service() as (served, url):
        await proxy.route("a.test", url)
        yield served


@pytest.fixture
async def channel(proxy: Proxy, served: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with calling(proxy.port) as channel:
        yield channel
