"""The edge's tests run on uvloop, as the proxy does."""

from tests.server.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
