"""The edge with HTTP/2 by prior knowledge, on uvloop as the proxy runs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server.conftest import pytest_asyncio_loop_factories
from tests.server.http2.frames import Http2Client, speaking
from tests.server.serving import Recorder, Served, serving

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def served(recorder: Recorder) -> AsyncIterator[Served]:
    async with serving(recorder, ws="none") as served:
        served.edge.prior_knowledge = True
        yield served


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Http2Client]:
    async with speaking(served.port) as client:
        yield client
