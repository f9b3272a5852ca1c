"""Both ways of pumping, on uvloop, as the proxy runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["tunnel", "relay"])
def mode(request: pytest.FixtureRequest) -> str:
    """Every case holds in both."""
    way: str = request.param
    return way
