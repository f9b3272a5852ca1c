"""A CA on loopback, and where it asks for challenges."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.backends import ScriptedBackend, answer, answering
from tests.ports import free_port
from tests.tls.acme.ca import AcmeCA, acme_ca


@pytest.fixture
def served_ca(tmp_path: Path) -> Iterator[AcmeCA]:
    """A CA that asks a proxy which is still to be started, at `http_port`."""
    with acme_ca(tmp_path, free_port()) as ca:
        yield ca


@pytest.fixture
async def backend() -> AsyncIterator[ScriptedBackend]:
    async with answering(answer(b"hi")) as server:
        yield server
