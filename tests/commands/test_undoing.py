"""`hipache route log` and `undo`, on every kind of store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py
from click.testing import CliRunner

from app.cli import main
from app.stores.file.journal_file import MAX_BYTES
from app.stores.journal import MAX_FORM
from app.stores.redis.journal_stream import READ_AT_ONCE
from app.system.operator import operator
from tests.processes import ROOT
from tests.redis_servers import RedisServer

A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
Run = Callable[..., str]


def runner(driver: str, folder: Path) -> Run:
    config = folder / "config.json"
    config.write_text(json.dumps({"driver": driver, "admin": {"bind": None}}))

    def run(*words: str, fails: int = 0) -> str:
        done = CliRunner().invoke(main, [*words, "--config", str(config)])
        assert done.exit_code == fails, done.output
        return done.output

    return run


@pytest.fixture(params=["redis", "toml", "json"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    if request.param != "redis":
        return runner(f"file:{tmp_path}/routes.{request.param}", tmp_path)
    return runner(f"{request.getfixturevalue('valkey').url}#test:", tmp_path)


def told(run: Run, *words: str) -> list[str]:
    """The lines of the log without their times."""
    return [line.split("Z  ", 1)[1] for line in run("route", "log", *words).splitlines()]


def test_every_change_is_told_and_the_last_undone(run: Run) -> None:
    assert run("route", "log") == "no change in the journal\n"
    run("route", "set", "a.test", A)
    run("route", "set", "a.test/api", B)
    run("option", "set", "a.test", "policy", "hash")
    run("drain", "a.test/api", B)
    run("route", "set", "b.test", A)
    run("route", "set", "b.test", A)  # changes nothing
    by = operator()
    mine = [
        f"{by}  ~ a.test/api  options {{}} -> {{'drain:{B}': 'on'}}",
        f"{by}  ~ a.test  options {{}} -> {{'policy': 'hash'}}",
        f"{by}  + a.test/api  a.test/api {B}",
        f"{by}  + a.test  a.test {A}",
    ]
    assert told(run, "a.test") == mine
    assert told(run, "a.test/api") == mine[::2]
    assert told(run, "-n", "1") == [f"{by}  + b.test  b.test {A}"]

    assert run("route", "undo", "a.test") == "~ a.test  options {'policy': 'hash'} -> {}\n"
    assert json.loads(run("route", "show", "a.test", "--json")) == {
        "a.test": {"id": "a.test", "backends": [A]}
    }
    run("route", "undo", "a.test")
    assert run("option", "list", "a.test") == "policy = hash\n"
    assert run("route", "undo", "b.test").startswith("- b.test")
    assert "b.test" not in run("route", "list")
    run("route", "undo", "b.test")
    assert run("route", "show", "b.test").startswith("b.test  b.test")


def test_a_removed_frontend_comes_back_with_its_options(run: Run) -> None:
    run("route", "set", "a.test/x", A)
    run("option", "set", "a.test/x", "strip", "on")
    before = run("route", "export")
    run("route", "remove", "a.test/x")
    run("route", "undo", "a.test/x")
    assert run("route", "export") == before


def test_a_rename_is_two_changes(run: Run) -> None:
    run("route", "set", "a.test", A)
    run("route", "rename", "a.test", "b.test")
    assert len(told(run)) == 3
    run("route", "undo", "a.test")
    run("route", "undo", "b.test")
    assert run("route", "list").startswith("a.test")
    assert "b.test" not in run("route", "list")


def test_what_cannot_be_undone_says_why(run: Run) -> None:
    assert "the journal knows no change of it" in run("route", "undo", "a.test", fails=1)
    urls = [f"http://127.0.0.1:{number}" for number in range(1000, 1000 + MAX_FORM // 20)]
    run("route", "set", "a.test", *urls)
    assert "too long to be kept" in run("route", "undo", "a.test", fails=1)
    assert told(run) == [f"{operator()}  ~ a.test  too long to be kept"]
    [record] = json.loads(run("route", "log", "--json"))
    assert record.keys() == {"at", "by", "frontend"}


def test_what_another_program_changed_is_not_undone(tmp_path: Path) -> None:
    run = runner(f"file:{tmp_path}/routes.json", tmp_path)
    run("route", "set", "a.test", A)
    table = (tmp_path / "routes.json").read_text()
    (tmp_path / "routes.json").write_text(table.replace(A, B))
    said = run("route", "undo", "a.test", fails=1)
    assert "another program has changed it since" in said
    assert B in (tmp_path / "routes.json").read_text()


def test_the_journal_of_a_file_is_capped_and_as_closed_as_the_table(tmp_path: Path) -> None:
    run, journal = (
        runner(f"file:{tmp_path}/routes.json", tmp_path),
        tmp_path / "routes.json.journal",
    )
    run("route", "set", "a.test", A)
    (tmp_path / "routes.json").chmod(0o640)
    journal.unlink()
    run("route", "set", "a.test", B)
    assert journal.stat().st_mode & 0o777 == 0o640
    line = "x" * 999
    journal.write_text(f"{line}\n" * (MAX_BYTES // 1000))
    run("option", "set", "a.test", "policy", "hash")
    run("route", "set", "a.test", A)
    assert MAX_BYTES * 0.4 < journal.stat().st_size < MAX_BYTES * 0.6
    assert len(told(run)) == 2


def test_the_journal_in_redis(tmp_path: Path, valkey: RedisServer) -> None:
    """Only its last lines are read, and nobody changes routes who may not write there."""
    run = runner(valkey.url, tmp_path)
    run("route", "set", "a.test", A)
    with redis_py.Redis(port=valkey.port, decode_responses=True) as redis:
        for _ in range(READ_AT_ONCE + 1):
            redis.xadd("hipache:journal", {"change": '{"at": 1, "by": "x", "key": "b.test"}'})
        redis.xadd("hipache:journal", {"other": "no JSON"})
        assert told(run, "a.test") == [f"{operator()}  + a.test  a.test {A}"]
        for right in ("+@all -xadd ~*", "+@all ~frontend:* ~options:* ~healthcheck:* ~paths:*"):
            rights = right.split()
            redis.execute_command("ACL", "SETUSER", "weak", "reset", "on", ">pw", *rights)
            weak = runner(f"redis://weak:pw@127.0.0.1:{valkey.port}", tmp_path)
            said = weak("route", "set", "a.test", B, fails=1)
            assert "this user may not write the journal" in said
            assert redis.lrange("frontend:a.test", 0, -1) == ["a.test", A]
        rights = documented_rights()
        redis.execute_command("ACL", "SETUSER", "weak", "reset", "on", ">pw", *rights)
        able = runner(f"redis://weak:pw@127.0.0.1:{valkey.port}", tmp_path)
        able("route", "set", "a.test/x", B, "--ttl", "60", "--wait")
        able("option", "set", "a.test/x", "strip", "on")
        able("route", "undo", "a.test/x")
        able("route", "remove", "a.test/x")
        assert able("route", "export").count("a.test") == 2
        redis.execute_command("ACL", "DELUSER", "weak")


def documented_rights() -> list[str]:
    page = (ROOT / "docs" / "stores.md").read_text("utf-8")
    [lines] = re.findall(r"ACL SETUSER operator on >password (.*?)\n\n", page, re.DOTALL)
    return str(lines).split()
