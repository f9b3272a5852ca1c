"""What the proxies of a JupyterHub share: the same promises by Redis and by a folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from app.errors import ConfigError, StoreUnavailable
from app.stores import driver_for
from app.stores.driver import NotOffered, StoreDriver
from app.stores.hub_records import HubRecords
from app.system.background import Background
from tests.redis_cluster import Cluster
from tests.redis_servers import RedisServer, free_port, until

ODD = "/user/a@b/ü 秀樹/" + "long" * 200


@pytest.fixture(params=["redis", "cluster", "file"])
async def make(
    request: pytest.FixtureRequest, valkey: RedisServer, shared_cluster: Cluster, tmp_path: Path
) -> AsyncIterator[Callable[[], HubRecords]]:
    """Opens the same store as often as it is called."""
    if request.param == "cluster":
        await shared_cluster.empty()
    url = {
        "redis": f"{valkey.url}#p:",
        "cluster": f"{shared_cluster.url}#p:",
        "file": f"file:{tmp_path}/hub",
    }[request.param]
    opened: list[HubRecords] = []

    def one_more() -> HubRecords:
        opened.append(driver_for((url,)).hub_records(timeout=5))
        return opened[-1]

    yield one_more
    for each in opened:
        await each.aclose()


async def test_texts_are_kept_by_their_names(make: Callable[[], HubRecords]) -> None:
    here, there = make(), make()
    await here.put("/a", "1", 10.5)
    await here.put(ODD, "2", 11)
    await here.put("/a", "3", 12)
    assert await there.read_all() == {"/a": "3", ODD: "2"}
    assert await there.read(["/a", "/b", ODD]) == {"/a": "3", "/b": None, ODD: "2"}
    assert (await here.drop("/a"), await here.drop("/a")) == (True, False)
    assert await there.read_all() == {ODD: "2"}


async def test_an_earlier_use_changes_nothing(make: Callable[[], HubRecords]) -> None:
    here, there = make(), make()
    await here.put("/a", "1", 100.25)
    await there.read(["/a"])
    await there.touch({"/a": 99})
    assert await there.used() == {"/a": 100.25}
    await here.touch({"/a": 101.5})
    await here.touch({})
    assert await there.used() == {"/a": 101.5}
    await here.drop("/a")
    await there.read_all()
    assert await there.used() == {}


class Heard:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.tracks = False
        self.names: set[str | None] = set()
        self.reasons: list[str] = []

    def tracking(self) -> None:
        self.tracks = True

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def changed(self, names: Sequence[str] | None) -> None:
        self.names.update([None] if names is None else names)


async def test_changes_are_reported_but_not_uses(make: Callable[[], HubRecords]) -> None:
    here, there, heard = make(), make(), Heard()
    background = Background(heard.lost)
    background.spawn(there.watch(heard), "watch")
    try:
        await until(lambda: heard.tracks)
        await here.put("/a", "1", 1)
        await until(lambda: heard.names)
        await until_quiet(heard)
        await here.touch({"/a": 5})
        await here.put("/b", "1", 1)
        await until(lambda: heard.names)
        assert "/a" not in heard.names
        await until_quiet(heard)
        await here.drop("/b")
        await until(lambda: heard.names & {"/b", None})
    finally:
        await background.aclose()
    assert not heard.reasons


async def until_quiet(heard: Heard) -> None:
    """Until what is on its way has come."""
    while heard.names:
        heard.names.clear()
        await asyncio.sleep(0.15)


async def test_a_store_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "routes").write_text("no folder")
    for url in (f"redis://127.0.0.1:{free_port()}", f"file:{tmp_path}/hub"):
        records = driver_for((url,)).hub_records(timeout=1)
        with pytest.raises(StoreUnavailable):
            await records.read_all()
        with pytest.raises(StoreUnavailable):
            await records.put("/a", "1", 1)
        await records.aclose()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text("")
    with pytest.raises(ConfigError, match="expected a folder"):
        driver_for((f"file:{tmp_path}/routes.toml",)).hub_records(timeout=1)


def test_other_drivers_need_not_offer_it() -> None:
    class Other(StoreDriver):
        def __init__(self, urls: Sequence[str]) -> None:
            self.names = tuple(urls)

        def open(self, server: object) -> object:  # type: ignore[override]
            raise NotImplementedError

    with pytest.raises(NotOffered, match="keeps no routes of a JupyterHub"):
        Other(["x:"]).hub_records(timeout=1)


async def test_files_are_for_their_user_only(tmp_path: Path) -> None:
    records = driver_for((f"file:{tmp_path}/hub",)).hub_records(timeout=1)
    await records.put("/a", "1", 1)
    files = [path for path in (tmp_path / "hub").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    (tmp_path / "hub" / "routes" / "junk").write_text("{")
    assert await records.read_all() == {"/a": "1"}
