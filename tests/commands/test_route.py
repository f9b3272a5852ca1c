"""`hipache route`: every change whole or not at all, on every kind of store."""

import asyncio
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.commands import idle
from app.config.structs import Config
from app.frontends.backends import MAX_BACKENDS
from app.stores import driver_of, open_store
from app.stores.file.presence import FilePresence, wait_for_all
from app.stores.table import Entry, entry_of
from app.system.shared_folder import memory_folder
from tests.backends import answer, answering
from tests.ports import free_port
from tests.processes import ROOT, command, serve
from tests.redis_servers import RedisServer
from tests.whole_proxy import clients_of

Run = Callable[..., Result]


@pytest.fixture(params=["redis", "toml", "json"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param != "redis":
        return f"file:{tmp_path}/routes.{request.param}"
    return f"{request.getfixturevalue('valkey').url}#test:"


def runner(driver: str, folder: Path) -> Run:
    config = folder / "config.json"
    config.write_text(json.dumps({"driver": driver}))

    def run(*words: str, fails: int = 0, answer: str | None = None) -> Result:
        command = ["route", *words, "--config", str(config)]
        result = CliRunner().invoke(main, command, input=answer)
        assert result.exit_code == fails, result.output
        return result

    return run


@pytest.fixture
def run(driver: str, tmp_path: Path) -> Run:
    return runner(driver, tmp_path)


@pytest.fixture
def run_redis(valkey: RedisServer, tmp_path: Path) -> Run:
    return runner(valkey.url, tmp_path)


def shown(run: Run, host: str) -> dict[str, object]:
    [entry] = json.loads(run("show", host, "--json").output).values()
    return entry


def test_a_frontend_is_made_changed_and_removed(run):
    run("set", "WWW.Example.com", "http://a:1", "http://a:2", "--id", "mywebsite")
    run("add", "www.example.com", "http://a:3")
    run("remove", "www.example.com", "http://a:1")
    assert shown(run, "www.example.com") == {
        "id": "mywebsite",
        "backends": ["http://a:2", "http://a:3"],
    }
    run("set", "www.example.com", "http://a:4")
    assert shown(run, "www.example.com") == {"id": "mywebsite", "backends": ["http://a:4"]}
    run("remove", "www.example.com")
    assert run("list").output == ""


def test_show_finds_the_frontend_that_serves_a_host(run):
    run("set", "*.example.com", "http://a:1")
    assert run("show", "a.example.com").output == "*.example.com  *.example.com\n  0  http://a:1\n"
    assert "looked for b.org, *.org, *" in run("show", "b.org", fails=1).output


def test_rename_keeps_everything_but_the_key(run):
    run("set", "a.example", "http://a:1", "--id", "x")
    run("rename", "a.example", "b.example")
    assert run("list").output == "b.example  x  http://a:1\n"
    run("set", "c.example", "http://c:1")
    assert "exists already" in run("rename", "b.example", "c.example", fails=1).output


@pytest.mark.parametrize(
    ("words", "complaint", "status"),
    [
        (["set", "a b", "http://a"], "'a b' is no host", 2),
        (["set", "*.a.b.c.d.e.f", "http://a"], "never matches", 2),
        (["set", "a.example", "http://"], "no host", 1),
        (["set", "a.example", "ftp://a"], "scheme is not http, https, h2c or unix", 1),
        (["set", "a.example", "grpc://a:1"], "h2c or unix (did you mean h2c?)", 1),
        (["set", "a.example", "grpcs://a:1"], "(with TLS it is https, and the option http2 on)", 1),
        (["set", "a.example", "http://a:99999"], "Port out of range", 1),
        (["set", "a.example", "http://a", "a:80"], "is there twice", 1),
        (["add", "a.example", "http://a:1"], "is there twice", 1),
        (["add", "b.example", "http://a"], "no frontend b.example", 1),
        (["remove", "a.example", "http://a:1", "http://x"], "has no backend 'http://x'", 1),
        (["remove", "b.example"], "no frontend b.example", 1),
    ],
)
def test_a_wrong_change_changes_nothing(run, words, complaint, status):
    run("set", "a.example", "http://a:1")
    assert complaint in run(*words, fails=status).output
    assert run("list").output == "a.example  a.example  http://a:1\n"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("9101", "did you mean http://127.0.0.1:9101?"), ("http//h", "a scheme ends with '://'"),
        ("h2c://h:1/app", "is refused: its path /app is ignored"), ("h2c://h:1/app", "write h2c://h:1"),
        ("http://h?x", "its query is ignored"),
        ("http://127.1", "did you mean 127.0.0.1?"), ("http://0.0.35.141", "no machine has this"),
        ("http://169.254.169.254", "the proxy does not connect to this backend"),
        ("http://127.0.0.1:80", "the backend is this proxy itself"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("words", [["set"], ["add"], ["import", "-y"]], ids=lambda words: words[0])
def test_a_backend_that_nobody_can_mean_is_refused(run, tmp_path, words, url, told) -> None:
    run("set", "a.test", "http://10.0.0.1:80")
    before = run("export").output
    if words[0] == "import":
        file = tmp_path / "new.json"
        file.write_text(json.dumps({"a.test": {"id": "a", "backends": [url]}}))
        result = run(*words, str(file), fails=1)
    else:
        result = run(*words, "a.test", url, fails=1)
    assert told in result.output
    assert run("export").output == before


def test_no_list_grows_beyond_what_is_used(run) -> None:
    urls = [f"http://10.0.0.1:{port}" for port in range(1, MAX_BACKENDS + 1)]
    run("set", "a.test", *urls)
    result = run("add", "a.test", "http://10.0.0.2", fails=1)
    assert f"a list has {MAX_BACKENDS} backends at most" in result.output


def test_white_space_around_a_url_is_not_written(run) -> None:
    run("set", "a.test", " http://10.0.0.1:80\n")
    run("add", "a.test", "http://10.0.0.2:80\r\n")
    assert shown(run, "a.test")["backends"] == ["http://10.0.0.1:80", "http://10.0.0.2:80"]
    run("remove", "a.test", "http://10.0.0.2:80\n")
    assert shown(run, "a.test")["backends"] == ["http://10.0.0.1:80"]


def test_what_is_in_a_list_already_does_not_keep_anybody_from_changing_the_rest(
    run_redis, valkey
) -> None:
    async def plant():
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "a", "http://10.0.0.1:80/app\n")

    asyncio.run(plant())
    run_redis("add", "a.test", "http://10.0.0.2:80")
    assert "\n\n" not in run_redis("show", "a.test").output
    run_redis("remove", "a.test", "http://10.0.0.1:80/app")
    assert shown(run_redis, "a.test")["backends"] == ["http://10.0.0.2:80"]


def test_a_table_moves_between_stores(run, tmp_path, valkey):
    run("set", "a.example", "http://a:1", "--id", "x")
    run("set", "*.b.example", "http://b:1", "http://b:2")
    run("export", str(tmp_path / "table.json"))
    (tmp_path / "other").mkdir()
    other = runner(f"{valkey.url}#other:", tmp_path / "other")
    output = other("import", str(tmp_path / "table.json"), "--yes").output
    lines = "+ a.example  x http://a:1\n+ *.b.example  *.b.example http://b:1 http://b:2\n"
    assert output.startswith(f"{lines}2 frontends added, 0 changed, 0 removed in ")
    assert other("list", "--json").output == run("list", "--json").output


def test_options_and_checks_move_with_their_frontend(run, tmp_path):
    entry = {
        "id": "x",
        "backends": ["http://a:1"],
        "options": {"policy": "hash"},
        "healthcheck": {"path": "/health", "status": "200"},
    }
    (tmp_path / "table.json").write_text(json.dumps({"a.example": entry}))
    run("import", str(tmp_path / "table.json"), "--yes")
    run("add", "a.example", "http://a:2")
    run("rename", "a.example", "b.example")
    run("export", str(tmp_path / "out.json"))
    moved = json.loads((tmp_path / "out.json").read_text())
    assert moved == {"b.example": entry | {"backends": ["http://a:1", "http://a:2"]}}


def test_a_list_can_be_filtered_and_paged(run):
    for host in ("a.shop.test", "b.shop.test", "c.shop.test", "shop.test", "shop.test/api"):
        run("set", host, "http://127.0.0.1:1")
    assert keys_of(run("list", "*.shop.test")) == ["a.shop.test", "b.shop.test", "c.shop.test"]
    assert keys_of(run("list", "shop.test")) == ["shop.test", "shop.test/api"]
    assert list(json.loads(run("list", "b.shop", "--json").output)) == ["b.shop.test"]
    assert run("list", "nothing").output == ""
    first = run("list", "*.shop.test", "--limit", "2")
    [place] = re.findall(r"--after '?([^ ']+)'? lists them", first.stderr)
    second = run("list", "*.shop.test", "--limit", "2", "--after", place)
    assert len(first.stdout.splitlines()) == 2
    assert second.stderr == ""
    lines = first.stdout.splitlines() + second.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == [
        "a.shop.test",
        "b.shop.test",
        "c.shop.test",
    ]
    assert "needs --limit" in run("list", "--after", place, fails=2).output
    assert "takes no --limit" in run("list", "--idle", "1h", "--limit", "2", fails=2).output
    assert "is no place" in run("list", "--limit", "2", "--after", "x", fails=1).output


def keys_of(result: Result) -> list[str]:
    return [line.split()[0] for line in result.output.splitlines()]


def test_an_import_shows_the_difference_and_asks(run, tmp_path):
    run("set", "a.example", "http://a:1")
    run("set", "b.example", "http://b:1")
    (tmp_path / "new.toml").write_text('["a.example"]\nbackends = ["http://a:2"]\n')
    command = ("import", str(tmp_path / "new.toml"), "--replace")
    output = run(*command, answer="n\n", fails=1).output
    assert "~ a.example  -http://a:1 +http://a:2\n- b.example  b.example http://b:1\n" in output
    assert "nothing was changed" in output
    run(*command, answer="y\n")
    assert run("list").output == "a.example  a.example  http://a:2\n"
    assert run(*command).output == "nothing to change\n"


def test_a_broken_import_changes_nothing(run, tmp_path):
    (tmp_path / "new.toml").write_text(
        '["a.example"]\nbackends = ["http://a"]\n["b"]\nbackends = ["http://"]\n'
    )
    assert (
        "new.toml line 4: b: backend 'http://': no host"
        in run("import", str(tmp_path / "new.toml"), "--yes", fails=1).output
    )
    assert run("list").output == ""


# Redis alone.


async def test_a_change_is_one_step_for_everybody_else(valkey):
    table = driver_of(Config(driver=(valkey.url,))).table()
    async with valkey.client as redis, redis.pipeline(transaction=False) as reader:
        await redis.rpush("frontend:a", "id", "http://a:0")
        writes = asyncio.ensure_future(_rewrite(table, 100))
        while not writes.done():
            reader.lrange("frontend:a", 0, -1)
            [rows] = await reader.execute()
            assert len(rows) == 2
        await writes
    await table.aclose()


async def _rewrite(table, times):
    for number in range(times):
        await table.change(
            ["a"], lambda now, number=number: {"a": Entry("id", (f"http://a:{number}",))}
        )


async def test_two_who_change_the_same_frontend_lose_nothing(valkey):
    tables = [driver_of(Config(driver=(valkey.url,))).table() for _ in range(3)]

    def appended(url):
        return lambda now: {"a": Entry("id", (*(now["a"].backends if now else ()), url))}

    async def append(number, table):
        for count in range(5):
            await table.change(["a"], appended(f"http://{number}:{count + 1}"))

    await asyncio.gather(*(append(number, table) for number, table in enumerate(tables)))
    assert len((await tables[0].read())["a"].backends) == 15
    for table in tables:
        await table.aclose()


def test_a_ttl_is_set_kept_by_add_and_dropped_by_set(run_redis):
    run_redis("set", "preview-17", "http://a:1", "--ttl", "3600")
    run_redis("add", "preview-17", "http://a:2")
    assert 3590 < shown(run_redis, "preview-17")["ttl"] <= 3600
    run_redis("set", "preview-17", "http://a:1")
    assert "ttl" not in shown(run_redis, "preview-17")


async def test_options_and_marks_go_with_their_frontend(valkey):
    table = driver_of(Config(driver=(valkey.url,))).table()
    async with valkey.client as redis:
        await redis.rpush("frontend:a", "id", "http://a:0")
        await redis.hset("options:a", mapping={"policy": "hash"})
        await redis.hset("healthcheck:a", mapping={"path": "/up"})
        await redis.sadd("dead:a", 0)
        assert (await table.read())["a"].options == {"policy": "hash"}
        await table.change(["a"], lambda now: {})
        assert await redis.keys() == ["hipache:journal"]
    await table.aclose()


def test_a_list_without_its_identifier_and_a_wrong_type_can_be_mended(run_redis, valkey):
    async def damage():
        async with valkey.client as redis:
            await redis.set("frontend:a.example", "a string")

    asyncio.run(damage())
    run_redis("set", "a.example", "http://a:1")
    assert shown(run_redis, "a.example")["backends"] == ["http://a:1"]


def test_a_store_that_is_away_is_one_line(tmp_path):
    run = runner(f"redis://127.0.0.1:{free_port()}", tmp_path)
    output = run("list", fails=1).output
    assert output.startswith("hipache: redis://127.0.0.1:")
    assert output.count("\n") == 1


def test_the_embedded_server_is_started_for_a_command(tmp_path):
    run = runner(f"embedded:{tmp_path}/state", tmp_path)
    run("set", "a.example", "http://a:1")
    assert run("list").output == "a.example  a.example  http://a:1\n"


# A file alone.


def test_comments_in_a_file_stay(tmp_path):
    path = tmp_path / "routes.toml"
    path.write_text('# ours\n["a.example"]  # the first\nbackends = ["http://a:1"]  # old\n')
    run = runner(f"file:{path}", tmp_path)
    run("set", "b.example", "http://b:1")
    run("add", "a.example", "http://a:2")
    text = path.read_text()
    assert text.startswith('# ours\n["a.example"]  # the first\n')
    assert 'backends = ["http://a:1", "http://a:2"]' in text
    run("remove", "b.example")
    run("remove", "a.example")
    assert run("list").output == ""


def test_a_file_knows_no_expiry(tmp_path):
    run = runner(f"file:{tmp_path}/routes.toml", tmp_path)
    assert "knows no expiry" in run("set", "a", "http://a", "--ttl", "5", fails=1).output
    assert run("list").output == ""


# --wait


async def test_wait_returns_when_every_worker_has_the_change(driver):
    stores = [open_store(Config(driver=(driver,))) for _ in range(3)]
    for store in stores:
        await store.start()
    table = driver_of(Config(driver=(driver,))).table()
    async with asyncio.timeout(5):
        while (await table.wait(0))[0] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    for number in range(5):
        urls = (f"http://a:{number + 1}",)
        await table.change(["a"], lambda now, urls=urls: {"a": Entry("id", urls)})
        assert await table.wait(5) == (3, [])
        for store in stores:
            assert [b.url for b in (await store.find("a")).frontend.backends] == list(urls)
    await stores.pop().aclose()
    assert await table.wait(5) == (2, [])
    for store in stores:
        await store.aclose()
    await table.aclose()


def test_wait_names_the_workers_that_do_not_answer(run_redis, valkey):
    async def haunt():
        async with valkey.client as redis:
            await redis.set("hipache:worker:ghost:1", 0, ex=60)

    asyncio.run(haunt())
    output = run_redis("set", "a", "http://a", "--wait", "0.1", fails=1).output
    assert "changed, but 1 of 1 workers did not have it after 0.1 s: ghost:1" in output


def test_wait_with_nobody_to_wait_for_returns_at_once(run):
    assert run("set", "a", "http://a", "--wait").output == "workers that have it: 0\n"


WORKER = """
from pathlib import Path
from sys import argv, stdin
from app.stores.file.presence import FilePresence
FilePresence(Path(argv[1])).show_up()
print("there", flush=True)
stdin.read()
"""


def test_who_was_killed_is_not_waited_for_and_leaves_no_note(tmp_path):
    table = tmp_path / "routes.toml"
    run = runner(f"file:{table}", tmp_path)
    command = [sys.executable, "-c", WORKER, str(table)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout.readline() == b"there\n"
        output = run("set", "a", "http://a", "--wait", "0.1", fails=1).output
        assert f"1 of 1 workers did not have it after 0.1 s: {worker.pid}" in output
        worker.kill()
        worker.wait()
    assert "workers that have it: 0" in run("set", "a", "http://b", "--wait").output
    notes = set(memory_folder().glob(f"hipache-routes-*-{worker.pid}-*"))
    assert len(notes) == 1
    another = FilePresence(tmp_path / "another.toml")
    another.show_up()
    another.release()
    assert not any(note.exists() for note in notes)


def test_what_others_put_beside_the_notes_holds_nobody_up(tmp_path):
    table = tmp_path / "routes.toml"
    worker = FilePresence(table)
    worker.show_up()
    pipe = worker._path.with_name(f"{worker._name}-pipe")
    link = worker._path.with_name(f"{worker._name}-link")
    os.mkfifo(pipe)
    link.symlink_to(table)
    try:
        another = FilePresence(table)
        another.show_up()
        another.release()
        assert asyncio.run(wait_for_all(table, 0)) == (1, [])
    finally:
        worker.release()
        for path in (pipe, link):
            path.unlink(missing_ok=True)


async def test_after_waiting_every_worker_of_a_service_serves_what_a_file_says(tmp_path):
    table = tmp_path / "routes.toml"
    table.write_text('["b.example"]\n')
    async with (
        serve(tmp_path, f"file:{table}") as service,
        answering(answer(b"one")) as one,
        answering(answer(b"two")) as two,
    ):
        clients = await clients_of(service)
        for backend, says in [(one, b"one"), (two, b"two")] * 2:
            words = "route", "set", "a.example", backend.url, "--wait"
            async with command("app.cli", *words, cwd=tmp_path) as setting:
                assert await setting.ended() == 0, setting.log
            assert [await client.get("a.example") for client in clients] == [says] * 2
        for client in clients:
            client.close()


def test_what_is_idle_is_listed_only_where_it_is_known(
    run: Run, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def note() -> None:
        routes = open_store(Config(driver=(driver,)))
        await routes.start()
        assert routes.uses is not None
        await routes.uses.note(["a.test"])
        await routes.aclose()

    keys = ("a.test", "b.test")
    for key in keys:
        run("set", key, "http://127.0.0.1:1")
        assert "last_used" not in run("show", key, "--json").output
    assert "no proxy notes when" in run("list", "--idle", "1s", fails=1).output
    asyncio.run(note())
    assert "uses are noted for" in run("list", "--idle", "1h", fails=1).output
    assert re.search(r"last used \d+ s ago", run("show", "a.test").output)
    assert "or never" in run("show", "b.test").output
    used, never = (json.loads(run("show", key, "--json").output)[key] for key in keys)
    assert time.time() - 60 < used["last_used"] <= time.time()
    assert never == {"id": "b.test", "backends": ["http://127.0.0.1:1"], "last_used": None}
    assert entry_of("b.test", never) == Entry("b.test", ("http://127.0.0.1:1",))
    later = time.time() + 500
    monkeypatch.setattr(idle, "time", SimpleNamespace(time=lambda: later))
    assert run("list", "--idle", "5m").output.splitlines() == [
        "a.test  last used 8 min ago",
        "b.test  last used more than 8 min ago, or never",
    ]
    first, second = json.loads(run("list", "--idle", "5m", "--json").output)
    assert (first["frontend"], second) == (
        "a.test",
        {"frontend": "b.test", "last_used": None, "seconds": None},
    )
    assert later - 510 < first["last_used"] < later - 490
    monkeypatch.setattr(idle, "time", SimpleNamespace(time=lambda: later - 400))
    assert run("list", "--idle", "90s").output.startswith("a.test  last used")


def test_the_pages_script_stops_what_is_idle_and_can_be_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/wake.md").read_text("utf-8")
    program = page[page.index("    import json, subprocess") :].partition("\nA request")[0]
    said = {
        ("route", "list", "--idle", "1h"): [{"frontend": "a.test"}, {"frontend": "b.test"}],
        ("route", "show", "a.test"): {"a.test": {"id": "one", "options": {"wake": "http://h/"}}},
        ("route", "show", "b.test"): {"b.test": {"id": "two", "backends": []}},
    }
    scripts = {
        "hipache": f"print(json.dumps({said!r}[tuple(words[:-1])]))",
        "docker": "open('stopped', 'a').write(' '.join(words))",
    }
    for name, script in scripts.items():
        path = tmp_path / name
        begin = f"#!{sys.executable}\nimport json, sys\nwords = sys.argv[1:]\n"
        path.write_text(begin + script)
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    exec(textwrap.dedent(program), {})
    assert (tmp_path / "stopped").read_text() == "stop one"
