"""Routes in a text file: edited while running, taken over whole or not at all."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.config.structs import Config
from app.errors import FrontendNotFound, StoreUnavailable
from app.routing import Mark
from app.stores import CachedStore, open_store
from app.stores.table import Entry, TableError, check_key, dump_entries
from app.stores.table_text import parse_table
from tests.redis_servers import until

TWO = """
["www.example.com"]
id = "mywebsite"
backends = ["http://127.0.0.1:81", "http://127.0.0.1:82"]
options = { policy = "round_robin", sticky = true, weight = 2 }

["*.Example.com"]
backends = ["http://127.0.0.1:83"]
"""


def test_a_table_is_read_as_it_is_written():
    table = parse_table(TWO, "routes.toml")
    assert list(table) == ["www.example.com", "*.example.com"]
    assert table["www.example.com"].rows == [
        "mywebsite",
        "http://127.0.0.1:81",
        "http://127.0.0.1:82",
    ]
    assert table["www.example.com"].options == {
        "policy": "round_robin",
        "sticky": "true",
        "weight": "2",
    }
    assert table["*.example.com"].identifier == "*.Example.com"


def test_what_is_dumped_can_be_read_again():
    table = parse_table(TWO, "routes.toml") | {"b": Entry("b", ttl=60)}
    assert parse_table(f"{{{dump_entries(table)}}}", "routes.json") == table


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('["a"]\nbackends = ["http://b"\n', "line 3: Unclosed array"),
        ('\n["a"]\nid = "x"\nbackends = ["http://"]\n', "line 4: a: backend 'http://': no host"),
        ('["a"]\nbackends = ["http://b:80", "b"]\n', "line 2: a: backend 'b' is there twice"),
        ("[www.example.com]\nbackends = []\n", 'quote the host: ["www.example..."]'),
        ('["a"]\nbackend = []\n', "a: unknown key 'backend'; expected id, backends, options"),
        ('["a"]\nhealthcheck = { url = "/" }\n', "a: healthcheck: unknown key 'url'; expected"),
        ('["a"]\nbackends = "http://b"\n', "expected a list of URLs, found 'http://b'"),
        ('["a"]\nid = 7\n', "line 1: a: id: expected a text, found 7"),
        ('["a"]\noptions = { x = [] }\n', "options.x: expected a text or a number, found []"),
        ('["A"]\n["a"]\n', "a is there twice"),
        ('a = "http://b"\n', 'a: expected a table: ["a"]'),
        ('["a b"]\n', "'a b' is no host, no *.domain and not *"),
        ('["a:80"]\n', "the key is the host without its port: 'a'"),
        ('["*.a.b.c.d.e.f"]\n', "never matches: a wildcard has at most 5 labels"),
    ],
)
def test_a_broken_table_is_refused_with_line_and_reason(text, complaint):
    with pytest.raises(TableError) as refused:
        parse_table(text, "routes.toml")
    assert str(refused.value).startswith("routes.toml")
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("name", "key"),
    [("*", "*"), ("WWW.Example.com.", "www.example.com"), ("*.A.b.c.d.e", "*.a.b.c.d.e")],
)
def test_a_key_is_written_as_it_is_looked_up(name, key):
    assert check_key(name) == key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routes.toml"
    path.write_text(TWO)
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[CachedStore]:
    store = open_store(Config(driver=(f"file:{path}",)))
    await store.start()
    yield store
    await store.aclose()


async def test_hosts_are_found_as_in_redis(store):
    assert (await store.find("www.example.com")).frontend.identifier == "mywebsite"
    assert (await store.find("other.example.com")).frontend.key == "*.example.com"
    with pytest.raises(FrontendNotFound):
        await store.find("example.com")


@pytest.mark.parametrize("how", ["in place", "by rename"])
async def test_an_edit_takes_effect_within_a_second(store, path, how):
    await store.find("other.example.com")
    kept = (await store.find("www.example.com")).frontend
    text = TWO.replace(":83", ":93")
    if how == "in place":
        path.write_text(text)
    else:
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
    await until(lambda: store.known("other.example.com") is None, seconds=1)
    [backend] = (await store.find("other.example.com")).frontend.backends
    assert backend.port == 93
    assert store.known("www.example.com").frontend is kept


async def test_a_broken_edit_is_refused_and_the_last_good_table_keeps_serving(store, path, caplog):
    before = await store.find("www.example.com")
    path.write_text(TWO + '["*.*"]\n')
    await until(lambda: caplog.records)
    assert f"{path} line 9: '*.*' is no host" in caplog.text
    assert store.known("www.example.com") is before
    path.write_text(TWO + '["new.example"]\n')
    await until(lambda: "new.example" in store.store._frontends)


@pytest.mark.parametrize("text", ["", "\n"])
async def test_an_emptied_file_is_taken_for_an_accident(store, path, text, caplog):
    path.write_text(text)
    await until(lambda: caplog.records)
    assert (await store.find("www.example.com")).frontend.identifier == "mywebsite"


async def test_a_removed_file_keeps_serving_and_is_read_when_it_is_back(store, path, caplog):
    os.remove(path)
    await until(lambda: caplog.records)
    assert (await store.find("www.example.com")).frontend.identifier == "mywebsite"
    path.write_text('["back.example"]\n')
    await until(lambda: "back.example" in store.store._frontends)


async def test_a_file_that_is_missing_at_the_start_is_an_outage_until_it_is_there(tmp_path):
    path = tmp_path / "later.toml"
    store = open_store(Config(driver=(f"file:{path}",)))
    await store.start()
    with pytest.raises(StoreUnavailable):
        await store.find("www.example.com")
    path.write_text(TWO)
    await until(lambda: store.ready)
    assert (await store.find("www.example.com")).frontend.size == 2
    await store.aclose()


async def test_a_link_into_another_folder_is_followed(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routes.toml").write_text(f'["{name}.example"]\n')
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "at").mkdir()
    (tmp_path / "at" / "routes.toml").symlink_to("../current/routes.toml")
    store = open_store(Config(driver=(f"file:{tmp_path}/at/routes.toml",)))
    await store.start()
    assert await store.find("one.example")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "current")
    await until(lambda: "two.example" in store.store._frontends)
    await store.aclose()


async def test_marks_live_in_this_worker(store):
    route = await store.find("www.example.com")
    backend = route.frontend.backends[0]
    mark = Mark(2e9, 1e9, "refused", "me")
    store.mark_dead(route.frontend, backend, mark)
    assert store.known("www.example.com").marks == {backend.url: mark}
    store.clear_mark(route.frontend, backend)
    assert store.known("www.example.com").marks == {}
