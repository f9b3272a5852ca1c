"""What is over does not stay in the folder for ever."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.stores import driver_for
from app.stores.file import issuance
from app.stores.issuance import STATE_LASTS, IssuanceState, IssuanceStore, Wish
from tests.redis_servers import until

STATE = IssuanceState(error="it failed", failures=(1.0,), not_before=2.0)


def opened(folder: Path) -> IssuanceStore:
    return driver_for((f"file:{folder}/routes.toml",)).issuance(str(folder), timeout=1)


def make_old(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_the_holder_removes_what_is_over_and_nothing_else(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert await store.hold("one", 60)
    for name in ("old.test", "new.test"):
        await store.fail("one", name, STATE)
    await store.put_challenge("over", "answer", 0)
    await store.put_challenge("asked", "answer", 60)
    await store.refuse_below_wildcards(0)
    make_old(tmp_path / "state/old.test", STATE_LASTS)
    for name in (".young.test.1.new", ".killed.test.2.new"):
        (tmp_path / "state" / name).touch()
    make_old(tmp_path / "state/.killed.test.2.new", 3600 + 1)
    (tmp_path / "challenges/torn").write_text("no time")
    assert await store.states() == {"new.test": STATE}
    assert (await store.progress("old.test")).state is None
    await store.aclose()
    store = opened(tmp_path)
    assert await store.hold("two", 60)
    await store.aclose()
    assert files(tmp_path) == {
        "lock",
        "state/new.test",
        "state/.young.test.1.new",
        "challenges/asked",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_what_root_wants_the_owner_of_the_folder_can_read(tmp_path: Path) -> None:
    """A person at a terminal is root, and the proxy is not."""
    os.chown(tmp_path, 1234, 1235)
    store = opened(tmp_path / "acme")
    assert await store.wish("a.test", Wish.ORDER)
    paths = [tmp_path / "acme", tmp_path / "acme/wanted", tmp_path / "acme/wanted/a.test"]
    assert {(each.stat().st_uid, each.stat().st_gid) for each in paths} == {(1234, 1235)}
    assert [each.stat().st_mode & 0o777 for each in paths] == [0o700, 0o700, 0o600]


class Heard:
    """The last thing that was reported (stores.issuance.IssuanceListener)."""

    last = ""

    def tracking(self) -> None:
        self.last = "tracking"

    def lost(self, reason: str) -> None:
        self.last = reason

    def changed(self, names: Sequence[str] | None) -> None:
        self.last = f"changed {names}"

    def wished(self) -> None:
        self.last = "wished"


async def test_a_folder_that_cannot_be_used_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuance, "WATCH_AGAIN", 0.01)
    folder, heard = tmp_path / "acme", Heard()
    folder.touch()
    store = opened(folder)
    watching = asyncio.create_task(store.watch(heard))
    try:
        await until(lambda: heard.last)
        assert "acme" in heard.last
        with pytest.raises(StoreUnavailable, match="acme"):
            await store.hold("one", 60)
        folder.unlink()
        await until(lambda: heard.last == "tracking")
        assert await store.hold("one", 60)
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await store.aclose()


async def test_it_looks_again_while_it_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    assert await store.hold("one", 60)
    await store.put_challenge("over", "answer", 0)
    assert await store.hold("one", 60)
    assert files(tmp_path) == {"lock", "challenges/over"}
    monkeypatch.setattr(store, "_expire_at", 0.0)
    assert await store.hold("one", 60)
    assert files(tmp_path) == {"lock"}
    await store.aclose()
