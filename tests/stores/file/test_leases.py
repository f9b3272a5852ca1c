"""Leases of workers that serve the same file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.stores.file.leases import FileLeases


async def test_one_has_it_until_it_gives_it_back(tmp_path: Path) -> None:
    table = tmp_path / "routes.json"
    one, other = FileLeases(table), FileLeases(table)
    assert await one.hold("wake:a.test", "one", 60)
    assert await one.hold("wake:a.test", "one", 60)
    assert not await other.hold("wake:a.test", "other", 60)
    assert await other.hold("wake:b.test", "other", 60)
    one.close()
    assert await other.hold("wake:a.test", "other", 60)
    other.close()


async def test_it_lapses(tmp_path: Path) -> None:
    one, other = FileLeases(tmp_path / "routes.json"), FileLeases(tmp_path / "routes.json")
    assert await one.hold("wake:a.test", "one", 0.01)
    async with asyncio.timeout(20):
        while not await other.hold("wake:a.test", "other", 60):  # noqa: ASYNC110
            await asyncio.sleep(0)
    other.close()


async def test_tables_have_leases_of_their_own(tmp_path: Path) -> None:
    one, other = FileLeases(tmp_path / "one.json"), FileLeases(tmp_path / "other.json")
    assert await one.hold("wake:a.test", "one", 60)
    assert await other.hold("wake:a.test", "other", 60)
    one.close()
    other.close()
