"""The last known routes on disk: a proxy that starts while the store is away serves them."""

import asyncio
from collections.abc import Collection, Generator
from pathlib import Path
from time import thread_time
from typing import TypeVar

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import StoreUnavailable
from app.routing import Frontend, parse_frontend
from app.stores import open_store
from app.stores.base import Found
from app.stores.cache.archive import Archive
from app.stores.cache.frontend_text import rows_of
from app.stores.cache.route_cache import RouteCache
from app.stores.cache.snapshot import Snapshot
from tests.ports import free_port
from tests.redis_servers import RedisServer

T = TypeVar("T")


def frontend(key: str, *urls: str) -> Frontend:
    return parse_frontend(key, ["id", *urls], {"policy": "hash"})


def snapshot(path: Path, *, store: str = "redis://a", size: int = 10) -> Snapshot:
    return Snapshot(path / "routes.json", store, size=size)


def finished(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def load(snapshot: Snapshot) -> dict[str, Frontend]:
    return finished(snapshot.parse(snapshot.read()))


def write(snapshot: Snapshot, known: dict[str, Frontend], absent: Collection[str] = ()) -> None:
    with snapshot.alone() as alone:
        assert alone
        snapshot.replace(finished(snapshot.merge(snapshot.read(), known, absent)))


def contents(snapshot: Snapshot) -> dict[str, list[str]]:
    return {host: rows_of(frontend) for host, frontend in load(snapshot).items()}


def test_what_is_written_is_read(tmp_path):
    one = frontend("*.example", "http://b:80", "http://", "http://c")
    write(snapshot(tmp_path), {"a.example": one, "b.example": one})
    read = load(snapshot(tmp_path))
    assert set(read) == {"a.example", "b.example"}
    assert rows_of(read["a.example"]) == ["id", "http://b:80", "http://", "http://c"]
    assert (read["a.example"].key, read["a.example"].options) == ("*.example", {"policy": "hash"})


def test_workers_add_to_what_others_wrote(tmp_path):
    write(snapshot(tmp_path), {"a": frontend("a", "http://1"), "b": frontend("b", "http://1")})
    write(snapshot(tmp_path), {"b": frontend("b", "http://2"), "c": frontend("c", "http://2")})
    assert contents(snapshot(tmp_path)) == {
        "a": ["id", "http://1"],
        "b": ["id", "http://2"],
        "c": ["id", "http://2"],
    }


def test_a_host_that_is_gone_is_dropped(tmp_path):
    write(snapshot(tmp_path), {"a": frontend("a"), "b": frontend("b")})
    write(snapshot(tmp_path), {"b": frontend("b")}, {"a"})
    assert list(contents(snapshot(tmp_path))) == ["b"]


def test_the_size_is_bounded(tmp_path):
    write(snapshot(tmp_path, size=2), {"a": frontend("a"), "b": frontend("b")})
    write(snapshot(tmp_path, size=2), {"c": frontend("c")})
    assert len(contents(snapshot(tmp_path))) == 2
    assert "c" in contents(snapshot(tmp_path))


def test_another_stores_snapshot_is_not_believed(tmp_path):
    write(snapshot(tmp_path, store="redis://a"), {"a": frontend("a")})
    assert load(snapshot(tmp_path, store="redis://b")) == {}


HEADER = '{"version": 1, "store": "redis://a"}\n'


@pytest.mark.parametrize(
    "text", ["", "{", f"{HEADER}x", f"{HEADER}1\ta\t{{}}\n", f"{HEADER}x\ta\t[]\n"]
)
def test_a_broken_snapshot_is_no_snapshot(tmp_path, text):
    (tmp_path / "routes.json").write_text(text)
    assert load(snapshot(tmp_path)) == {}


def test_two_workers_do_not_write_at_once(tmp_path):
    with snapshot(tmp_path).alone() as one, snapshot(tmp_path).alone() as other:
        assert (one, other) == (True, False)


def test_only_its_owner_may_read_it(tmp_path):
    write(snapshot(tmp_path), {"a": frontend("a")})
    assert (tmp_path / "routes.json").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"routes.json", "routes.lock"}


async def test_a_folder_that_can_not_be_written_is_said_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    memory = RouteCache(10, lambda key: {})
    archive = Archive(snapshot(tmp_path / "file"), memory, every=0)
    for host in ("a", "b"):
        memory.keep(host, Found(frontend(host)), fresh=True)
        await archive.aclose()
    assert len(caplog.records) == 1


async def test_what_others_do_meanwhile_is_no_cost_of_a_writing(tmp_path):
    """A worker that is busy with requests would write its snapshot ever more seldom."""
    memory = RouteCache(0, lambda key: {})
    for number in range(2000):
        memory.keep(f"{number}", Found(frontend(f"{number}", "http://a")), fresh=True)
    archive = Archive(snapshot(tmp_path, size=0), memory, every=0)

    async def serve() -> None:
        while True:
            end = thread_time() + 0.005
            while thread_time() < end:
                pass
            await asyncio.sleep(0)

    serving = asyncio.create_task(serve())
    began = thread_time()
    await archive.aclose()
    whole = thread_time() - began
    serving.cancel()
    assert len(load(snapshot(tmp_path, size=0))) == 2000
    assert 0 < archive.cost < whole / 2


async def test_a_proxy_that_starts_while_the_store_is_away_serves_what_was_known(
    tmp_path,
):
    server = await RedisServer(tmp_path).start()
    config = Config(
        driver=(server.url,), server=ServerConfig(snapshot=str(tmp_path / "state" / "routes.json"))
    )
    async with server.client as redis:
        await redis.rpush("frontend:*.example", "id", "http://127.0.0.1:1")
    before = open_store(config)
    before._archive._every = 0.0  # it writes at its end, however short it lived
    await before.start()
    await before.find("a.example")
    await before.aclose()
    server.kill()
    after = open_store(config)
    await after.start()
    assert after.ready
    assert rows_of((await after.find("a.example")).frontend) == ["id", "http://127.0.0.1:1"]
    with pytest.raises(StoreUnavailable):
        await after.find("b.example")
    await after.aclose()


async def test_without_a_snapshot_such_a_proxy_is_not_ready(tmp_path):
    config = Config(
        driver=(f"redis://127.0.0.1:{free_port()}",),
        server=ServerConfig(snapshot=str(tmp_path / "routes.json")),
    )
    store = open_store(config)
    await store.start()
    assert not store.ready
    await store.aclose()


async def test_a_proxy_that_starts_while_the_store_stops_serves_what_was_known(tmp_path):
    """Its first read fails before the store counts as away."""
    server = await RedisServer(tmp_path).start()
    config = Config(
        driver=(server.url,), server=ServerConfig(snapshot=str(tmp_path / "routes.json"))
    )
    async with server.client as redis:
        await redis.rpush("frontend:*.example", "id", "http://127.0.0.1:1")
    before = open_store(config)
    before._archive._every = 0.0
    await before.start()
    await before.find("a.example")
    await before.aclose()
    after = open_store(config)
    await after.start()
    server.pause()
    assert not after.away
    asked = [after.find(host) for host in ("a.example", "a.example", "b.example")]
    one, other, unknown = await asyncio.gather(*asked, return_exceptions=True)
    assert one is other
    assert rows_of(one.frontend) == ["id", "http://127.0.0.1:1"]
    assert isinstance(unknown, StoreUnavailable)
    server.resume()
    await after.aclose()
    server.kill()
