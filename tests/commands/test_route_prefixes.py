"""`hipache route` with HOST/PREFIX: both keys in one step, on every kind of store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from click.testing import CliRunner

from app.cli import main
from tests.commands.test_route import Run, driver, run, run_redis, runner, shown
from tests.redis_servers import RedisServer

__all__ = ["driver", "run", "run_redis"]

A, B, C = "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"


@pytest.fixture
def redis(valkey: RedisServer) -> Iterator[redis_py.Redis]:
    with redis_py.Redis(port=valkey.port, decode_responses=True) as client:
        yield client


def lines(run: Run) -> list[str]:
    return [" ".join(line.split()) for line in run("list").output.splitlines()]


def test_a_prefix_is_made_changed_and_removed(run):
    run("set", "A.example/api/", A)
    run("add", "a.example/api", B)
    assert shown(run, "a.example/api") == {"id": "a.example/api", "backends": [A, B]}
    run("remove", "a.example/api", A)
    assert lines(run) == [f"a.example/api a.example/api {B}"]
    run("rename", "a.example/api", "b.example/v2")
    assert lines(run) == [f"b.example/v2 a.example/api {B}"]
    run("remove", "b.example/v2")
    assert lines(run) == []


def test_prefixes_stand_below_their_host(run):
    for key in ("b.example", "a.example/y", "a.example", "a.example/x", "x.a.example"):
        run("set", key, A)
    found = [line.split()[0] for line in lines(run)]
    assert found == ["a.example", "a.example/x", "a.example/y", "x.a.example", "b.example"]


def test_show_finds_the_frontend_that_serves_a_path(run):
    run("set", "a.example", A)
    run("set", "a.example/x", B)
    run("set", "*.example/x/y", C)
    for asked, key in [
        ("a.example", "a.example"),
        ("a.example/x/y", "a.example/x"),
        ("a.example/z", "a.example"),
        ("b.example/x/y", "*.example/x/y"),
        ("*.example/x/y", "*.example/x/y"),
    ]:
        assert run("show", asked).output.split()[0] == key
    assert "no frontend for b.example/x" in run("show", "b.example/x", fails=1).output
    assert "no frontend for b.example" in run("show", "b.example", fails=1).output


def test_redis_has_both_keys(run_redis, redis):
    run_redis("set", "a.example/x", A)
    run_redis("set", "a.example/y", A)
    assert redis.smembers("paths:a.example") == {"/x", "/y"}
    assert redis.lrange("frontend:a.example/x", 0, -1) == ["a.example/x", A]
    run_redis("remove", "a.example/x")
    assert redis.smembers("paths:a.example") == {"/y"}
    redis.delete("paths:a.example")
    run_redis("set", "a.example/y", A)  # nothing new, but what was forgotten is there again
    assert redis.smembers("paths:a.example") == {"/y"}
    run_redis("rename", "a.example/y", "b.example/z")
    assert redis.keys("paths:*") == ["paths:b.example"]
    run_redis("remove", "b.example/z")
    assert redis.keys("*") == ["hipache:journal"]


def test_options_stay_as_long_as_prefixes_inherit_them(run_redis, redis):
    run_redis("set", "a.example", A)
    run_redis("set", "a.example/x", B)
    redis.hset("options:a.example", "policy", "hash")
    redis.sadd("dead:a.example", 0)
    run_redis("remove", "a.example")
    assert sorted(redis.keys("*:a.example*")) == [
        "frontend:a.example/x", "options:a.example", "paths:a.example",
    ]  # fmt: skip
    assert "a.example (no list of its own: options for its prefixes)" in lines(run_redis)
    assert "no frontend a.example" in run_redis("remove", "a.example", fails=1).output
    assert "no frontend a.example" in run_redis("add", "a.example", A, fails=1).output
    run_redis("set", "a.example", C)
    assert shown(run_redis, "a.example") == {
        "id": "a.example",
        "backends": [C],
        "options": {"policy": "hash"},
    }


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_they_stay_in_a_file_as_well(kind, tmp_path: Path):
    run = runner(f"file:{tmp_path}/routes.{kind}", tmp_path)
    table = tmp_path / "table.toml"
    table.write_text(f'''["a.example"]
backends = ["{A}"]
options = {{ policy = "hash" }}

["a.example/x"]
backends = ["{B}"]
''')
    run("import", str(table), "--yes")
    run("remove", "a.example")
    assert json.loads(run("export").output)["a.example"] == {"options": {"policy": "hash"}}
    run("remove", "a.example/x")
    run("set", "a.example/x", C)


def test_a_host_moves_with_its_prefixes(run):
    run("set", "a.example", A)
    run("set", "a.example/x", B)
    run("set", "c.example/x", C)
    assert "exists already" in run("rename", "a.example", "c.example", fails=1).output
    assert "has prefixes" in run("rename", "a.example", "c.example/z", fails=1).output
    run("rename", "a.example", "b.example")
    assert [line.split()[0] for line in lines(run)] == ["b.example", "b.example/x", "c.example/x"]


def test_an_export_can_be_imported(run, tmp_path: Path):
    run("set", "a.example", A)
    run("set", "a.example/x", B)
    file = tmp_path / "export.json"
    run("export", str(file))
    before = file.read_text()
    run("remove", "a.example")
    run("remove", "a.example/x")
    told = run("import", str(file), "--yes").output
    assert f"+ a.example/x  a.example/x {B}\n" in told
    run("export", str(file))
    assert file.read_text() == before


def test_options_of_a_host_without_a_list_are_imported_and_exported(run, tmp_path: Path):
    table = {
        "a.example": {"options": {"policy": "hash"}},
        "a.example/x": {"id": "x", "backends": [A], "options": {"strip": "on"}},
    }
    file = tmp_path / "table.json"
    file.write_text(json.dumps(table))
    run("import", str(file), "--yes")
    assert json.loads(run("export").output) == table
    assert run("import", str(file), "--yes").output == "nothing to change\n"
    run("import", str(file), "--replace", "--yes")
    assert json.loads(run("list", "--json").output) == table


@pytest.mark.parametrize("key", ["a.example/a b", "a.example/x?y", "http://a.example/x"])
def test_what_is_no_prefix_is_refused(run, key):
    assert "no host" in (out := run("set", key, A, fails=2).output) or "no path" in out


def test_options_are_set_for_a_prefix_and_for_a_host_without_a_list(run_redis, redis, tmp_path):
    run_redis("set", "a.example/x", A)

    def option(*words: str) -> None:
        done = CliRunner().invoke(main, [*words, "--config", str(tmp_path / "config.json")])
        assert done.exit_code == 0, done.output

    option("option", "set", "a.example/x/", "strip", "on")
    option("maintenance", "on", "a.example", "--message", "back soon")
    assert redis.hgetall("options:a.example/x") == {"strip": "on"}
    assert "back soon" in redis.hgetall("options:a.example")["maintenance"]
    assert sorted(redis.keys("frontend:*")) == ["frontend:a.example/x"]
    option("maintenance", "off", "a.example")
    option("option", "unset", "a.example/x", "strip")
    assert redis.keys("options:*") == []


def test_marks_of_a_prefix_by_hand(run_redis, tmp_path: Path):
    run_redis("set", "a.example/x", A, B)

    def dead(*words: str, fails: int = 0) -> str:
        asked = ["dead", *words, "--config", str(tmp_path / "config.json")]
        done = CliRunner().invoke(main, asked)
        assert done.exit_code == fails, done.output
        return done.output

    assert "a.example/x" in dead("mark", "A.example/x", A)
    assert "a.example/x" in dead("list", "a.example/x")
    assert "cleared" in dead("clear", "a.example/x")
    assert "no frontend serves a.example" in dead("mark", "a.example", A, fails=1)
