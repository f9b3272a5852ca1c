"""The edge with HTTP/2 by prior knowledge, on uvloop as the proxy runs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.server.edge import ClientLimits
from tests.server.conftest import pytest_asyncio_loop_factories
from tests.server.http2.frames import Http2Client, speaking
from tests.server.serving import Recorder, Served, serving

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def app(recorder: Recorder) -> Any:
    """What is served; a module may have its own."""
    return recorder


@pytest.fixture
def limits() -> ClientLimits | None:
    """What clients may, None for what `serving` has; a module may have its own."""
    return None


@pytest.fixture
async def served(app: Any, limits: ClientLimits | None) -> AsyncIterator[Served]:
    async with serving(app, limits, ws="none") as served:
        served.edge.prior_knowledge = True
        yield served


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Http2Client]:
    async with speaking(served.port) as client:
        await client.ponged()
        yield client
