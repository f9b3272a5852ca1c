"""What every test may ask for."""

import asyncio
import gc
import signal
from collections.abc import Generator, Iterator
from itertools import count

import hypothesis
import pytest

from tests import serving
from tests.machine_memory import remove_notes_of_tables
from tests.redis_cluster import Cluster
from tests.redis_servers import RedisServer, end_all

# A shell has what it starts in the background ignore SIGINT, and our children would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes is the machine's business; pytest-timeout finds what hangs.
hypothesis.settings.register_profile("hipache", deadline=None)
hypothesis.settings.load_profile("hipache")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms of tests, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a longer form of a test that always runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="a long form: --long runs it"))


_ended = count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, bool | None, bool | None]:
    """Spares the cycle collector what pytest keeps of 11,000 tests.

    Each proxy has it walk over all that is there when it starts: that was most of what a small
    test cost. What a test leaves is collected behind it, and now and then all that may be old.
    """
    gc.freeze()
    try:
        return (yield)
    finally:
        if next(_ended) % 200:
            gc.collect(1)
        else:
            gc.unfreeze()
            gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _no_servers_left() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="session", autouse=True)
def _no_notes_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Removes what stores in files of these tests have noted in the machine's memory."""
    yield
    remove_notes_of_tables(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("valkey"))
    asyncio.run(server.start())
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    asyncio.run(cluster.start())
    asyncio.run(cluster.be_patient())
    yield cluster
    cluster.kill()


@pytest.fixture
async def cluster(shared_cluster: Cluster) -> Cluster:
    """A real, empty cluster: three primaries with a replica each."""
    await shared_cluster.empty()
    return shared_cluster


@pytest.fixture(params=[False, True], ids=["below ASGI", "through ASGI"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test twice: once as served, once with a middleware that keeps it in ASGI."""
    monkeypatch.setattr(serving, "ASGI_ONLY", request.param)


@pytest.fixture
async def valkey(shared_valkey: RedisServer) -> RedisServer:
    """A real, empty Valkey: `.url`, `.unix_url`, `.client`. A test that harms it starts its own."""
    async with shared_valkey.client as client:
        await client.flushall()
        await client.script_flush()
    return shared_valkey
