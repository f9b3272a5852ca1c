"""Prefixes in a text file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.config.structs import Config
from app.errors import FrontendNotFound
from app.stores import CachedStore, open_store
from app.stores.file.table import FileTable
from app.stores.table import Entry, TableError, check_key, dump_entries
from app.stores.table_text import parse_table
from tests.redis_servers import until

TABLE = """\
["www.example.com"]
backends = ["http://127.0.0.1:1"]
options = { policy = "hash", sticky = "on" }

["WWW.example.com/api/"]
backends = ["http://127.0.0.1:2"]
options = { sticky = "off" }

["*.example.com/api"]
backends = ["http://127.0.0.1:3"]
healthcheck = { path = "/up" }
"""
OPTIONS_ONLY = """\
["a.org"]
options = { policy = "hash" }

["a.org/x"]
backends = ["http://127.0.0.1:4"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routes.toml"
    path.write_text(TABLE)
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[CachedStore]:
    store = open_store(Config(driver=(f"file:{path}",)))
    await store.start()
    yield store
    await store.aclose()


async def key_of(store: CachedStore, host: str, target: bytes) -> str:
    return (await store.find(host, target)).frontend.key


async def test_paths_are_found_as_in_redis(store: CachedStore) -> None:
    assert await key_of(store, "www.example.com", b"/x") == "www.example.com"
    assert await key_of(store, "www.example.com", b"/api/x") == "www.example.com/api"
    assert await key_of(store, "b.example.com", b"/api") == "*.example.com/api"
    with pytest.raises(FrontendNotFound):
        await store.find("b.example.com", b"/")
    options = (await store.find("www.example.com", b"/api")).frontend.options
    assert options == {"policy": "hash", "sticky": "off"}


async def test_active_checks_know_prefixes(store: CachedStore) -> None:
    checks = await store.checks.listed(lambda key: True, every=True)
    raw = {each.frontend.key: each.raw for each in checks}
    assert raw == {
        "www.example.com": {},
        "www.example.com/api": {},
        "*.example.com/api": {"path": "/up"},
    }


async def test_an_edit_of_the_hosts_options_reaches_its_prefixes(store, path):
    await store.find("www.example.com", b"/api")
    other = (await store.find("b.example.com", b"/api")).frontend
    path.write_text(TABLE.replace('"hash"', '"random"'))
    await until(lambda: store.known("www.example.com", b"/api") is None)
    assert (await store.find("www.example.com", b"/api")).frontend.options["policy"] == "random"
    assert (await store.find("b.example.com", b"/api")).frontend is other


async def test_a_prefix_comes_and_goes(store, path):
    assert await key_of(store, "www.example.com", b"/new") == "www.example.com"
    path.write_text(TABLE + '["www.example.com/new"]\nbackends = ["http://127.0.0.1:5"]\n')
    await until(lambda: store.known("www.example.com", b"/new") is None)
    assert await key_of(store, "www.example.com", b"/new") == "www.example.com/new"
    path.write_text(TABLE)
    await until(lambda: store.known("www.example.com", b"/new") is None)
    assert await key_of(store, "www.example.com", b"/new") == "www.example.com"


async def test_a_host_may_have_nothing_but_options_for_its_prefixes(store, path):
    path.write_text(OPTIONS_ONLY)
    await until(lambda: "a.org" in store.store._frontends)
    assert (await store.find("a.org", b"/x")).frontend.options == {"policy": "hash"}
    with pytest.raises(FrontendNotFound):
        await store.find("a.org", b"/")


def test_without_prefixes_such_a_host_has_an_empty_list_as_ever() -> None:
    table = parse_table('["A.org"]\noptions = { policy = "hash" }\n', "routes.toml")
    assert table == {"a.org": Entry("A.org", (), {"policy": "hash"})}


@pytest.mark.parametrize("text", [TABLE, OPTIONS_ONLY])
def test_what_is_dumped_can_be_read_again(text: str) -> None:
    table = parse_table(text, "routes.toml")
    assert parse_table(f"{{{dump_entries(table)}}}", "routes.json") == table


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("A.org/Api/", "a.org/Api"),
        ("a.org/", "a.org"),
        ("*/x", "*/x"),
        ("[::1]/x", "[::1]/x"),
        ("a.org/a%2Fb//c", "a.org/a%2Fb//c"),
    ],
)
def test_a_prefix_is_written_as_it_is_compared(name: str, key: str) -> None:
    assert check_key(name) == key


@pytest.mark.parametrize("key", ["a.org/a b", "a.org/a?b", "a.org/#", "a.org/ä", "a b/c", "/x"])
def test_a_prefix_that_matches_nothing_is_refused(key: str) -> None:
    with pytest.raises(TableError):
        check_key(key)


async def test_prefixes_are_counted_again_when_the_file_has_changed(tmp_path):
    file = tmp_path / "routes.toml"
    file.write_text('["a.test/x"]\n')
    table = FileTable(str(file))
    assert (await table.read(["a.test"]))["a.test"].below == 1
    file.write_text('["a.test/x"]\n["a.test/y"]\n["a.test"]\n')
    assert (await table.read(["a.test"]))["a.test"].below == 2
