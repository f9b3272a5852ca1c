"""The pytest plugin: its fixtures load the proxy only when a test asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .served_proxy import ServedProxy


@pytest.fixture
def hipache_config() -> dict[str, Any]:
    """What `config.json` would say; a test's own fixture of this name takes its place."""
    return {}


@pytest.fixture
def hipache_proxy(hipache_config: dict[str, Any]) -> Iterator[ServedProxy]:
    """A proxy in this process, without routes; its backends end with the test."""
    from .served_proxy import ServedProxy

    proxy = ServedProxy(hipache_config)
    yield proxy
    proxy.close()
