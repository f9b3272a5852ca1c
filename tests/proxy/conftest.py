"""What the tests of a request's way may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.collector import Collector, collecting


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting(monkeypatch) as collector:
        yield collector
