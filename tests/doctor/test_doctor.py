"""`hipache doctor` on a real store with each fault planted: what it says, and that it mends."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from click.testing import CliRunner

from app.cli import main
from app.doctor.findings import Commands
from app.doctor.redis_server import of_clock, of_coverage, of_ping, of_server
from app.frontends.backends import MAX_BACKENDS
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.tls.authority import DEFAULT, EXACT, chain, private

A, B = "http://10.0.0.1:80", "http://10.0.0.2:80"
Redis = redis_py.Redis


class Doctor:
    """Asks with a configuration of its own, and types the commands that it is told."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.json"

    def write(self, driver: str | list[str], **server: Any) -> None:
        server = {"accessLog": None, "snapshot": None, "statusSocket": None} | server
        values = {"driver": driver, "server": server, "http": {"port": 0}, "user": None}
        values["admin"] = {"bind": None}
        self.config.write_text(json.dumps(values))

    def run(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, [words[0], *words[1:]])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def findings(self) -> list[dict[str, str]]:
        status, output = self.run("doctor", "--json", "--config", str(self.config))
        told = json.loads(output)
        assert told["status"] == status
        found: list[dict[str, str]] = told["findings"]
        return found

    def only(self) -> dict[str, str]:
        """The one finding beside what a test's store always has."""
        (found,) = [f for f in self.findings() if f["name"] not in ("redis-forgets", "no-routes")]
        return found

    def mend(self, found: dict[str, str]) -> None:
        """Do what it says, and look again."""
        words = shlex.split(found["mend"])
        assert words[0] == "hipache"
        status, output = self.run(*words[1:])
        assert status == 0, output
        assert found["name"] not in {f["name"] for f in self.findings()}


@pytest.fixture
def doctor(valkey: RedisServer, tmp_path: Path) -> Doctor:
    made = Doctor(tmp_path)
    made.write(valkey.url)
    return made


@pytest.fixture
def redis(valkey: RedisServer) -> Iterator[Redis]:
    with redis_py.Redis(port=valkey.port, decode_responses=True) as client:
        yield client


def rows(key: str, *backends: str) -> Callable[[Redis], object]:
    return lambda redis: redis.rpush(f"frontend:{key}", *backends)


def both(*plants: Callable[[Redis], object]) -> Callable[[Redis], object]:
    return lambda redis: [plant(redis) for plant in plants]


FINE = rows("a.test", "site", A, B)
LONG = [f"http://10.0.0.1:{port}" for port in range(1, MAX_BACKENDS + 2)]


def ahead(redis: Redis) -> None:
    """A mark of a proxy whose clock is an hour ahead."""
    now = time.time() + 3600
    mark = {"until": now + 30, "since": now, "reason": "x", "by": "web7", "failures": 1, "index": 0}
    redis.hset("dead-info:a.test", A, json.dumps(mark))


FAULTS = [
    ("no-identifier", "a.test", rows("a.test", A, B), 2),
    ("no-identifier", "a.test", rows("a.test", "10.0.0.1:80"), 2),
    ("no-backend", "a.test", rows("a.test", "site"), 2),
    ("no-backend", "a.test", rows("a.test", "site", "http://"), 2),
    ("bad-backend", "a.test", rows("a.test", "site", A, "ftp://x"), 2),
    ("long-list", "a.test", rows("a.test", "site", *LONG), 2),
    ("duplicate-backend", "a.test", rows("a.test", "site", A, B, A), 1),
    ("duplicate-backend", "a.test", rows("a.test", "site", A, "http://10.0.0.1/"), 1),
    ("odd-backend", "a.test", rows("a.test", "site", A, f"{B}\n"), 1),
    ("odd-backend", "a.test", rows("a.test", "site", A, f"{B}/app?x#y"), 1),
    ("odd-backend", "a.test", rows("a.test", "site", A, "http://10.1:80"), 1),
    (
        "odd-backend",
        "a.test",
        both(
            rows("a.test", "site", "https://10.0.0.1/app"),
            lambda r: r.hset("options:a.test", "http2", "on"),
        ),
        1,
    ),
    ("bad-backend", "a.test", rows("a.test", "site", A, "9101"), 2),
    ("bad-backend", "a.test", rows("a.test", "site", A, "http//10.0.0.2"), 2),
    ("never-connected", "a.test", rows("a.test", "site", A, "http://169.254.169.254"), 2),
    ("never-connected", "a.test", rows("a.test", "site", A, "http://[::ffff:a9fe:a9fe]/"), 2),
    (
        "wake-never-called",
        "a.test",
        both(FINE, lambda r: r.hset("options:a.test", "wake", "http://169.254.169.254/up")),
        2,
    ),
    (
        "option-without-backend",
        "a.test",
        both(FINE, lambda r: r.hset("options:a.test", "drain:http://10.0.0.1:8", "on")),
        1,
    ),
    ("wildcard-never-matches", "*.a.b.c.d.e.f", rows("*.a.b.c.d.e.f", "site", A), 2),
    ("wildcard-never-matches", "x.*.test", rows("x.*.test", "site", A), 2),
    ("host-never-matches", "A.test", rows("A.test", "site", A), 2),
    ("host-never-matches", "a.test:80", rows("a.test:80", "site", A), 2),
    ("host-never-matches", "A.test", both(FINE, rows("A.test", "site", A)), 2),
    ("bad-option", "a.test", both(FINE, lambda r: r.hset("options:a.test", "policy", "best")), 1),
    ("bad-option", "a.test", both(FINE, lambda r: r.hset("options:a.test", "colour", "red")), 1),
    ("stale-mark", "gone.test", lambda r: r.sadd("dead:gone.test", 0), 1),
    ("stale-mark", "a.test", both(FINE, lambda r: r.sadd("dead:a.test", 7)), 1),
    ("foreign-mark", "a.test", both(FINE, lambda r: r.sadd("dead:a.test", 1)), 2),
    (
        "foreign-mark",
        "x.wild.test",
        both(rows("*.wild.test", "s", A, B), lambda r: r.sadd("dead:x.wild.test", 1)),
        2,
    ),
    ("orphan", "options:b.test", lambda r: r.hset("options:b.test", "policy", "hash"), 0),
    ("orphan", "healthcheck:b.test", lambda r: r.hset("healthcheck:b.test", "path", "/"), 0),
    (
        "prefix-without-list",
        "paths:a.test",
        both(FINE, lambda r: r.sadd("paths:a.test", "/x")),
        1,
    ),
    ("list-without-prefix", "a.test/x", both(FINE, rows("a.test/x", "site", A)), 2),
    ("prefix-never-matches", "paths:a.test", both(FINE, lambda r: r.sadd("paths:a.test", "x")), 1),
    ("wrong-type", "paths:a.test", both(FINE, lambda r: r.set("paths:a.test", "x")), 1),
    ("wrong-type", "frontend:a.test", lambda r: r.set("frontend:a.test", A), 2),
    ("wrong-type", "options:a.test", both(FINE, lambda r: r.set("options:a.test", "x")), 2),
    ("wrong-type", "dead:a.test", both(FINE, lambda r: r.set("dead:a.test", "x")), 1),
    ("wrong-type", "dead-info:a.test", both(FINE, lambda r: r.set("dead-info:a.test", "x")), 1),
    ("wrong-type", "healthcheck:a.test", both(FINE, lambda r: r.set("healthcheck:a.test", 1)), 1),
    ("wrong-type", "tls:a.test", lambda r: r.set("tls:a.test", "x"), 1),
    ("checker-ping", "hchecker_ping", lambda r: r.set("hchecker_ping", "9" * 11), 1),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0]} {fault[1]}")
def test_a_fault_is_told_and_its_command_mends_it(doctor: Doctor, redis: Redis, fault: Any) -> None:
    name, subject, plant, status = fault
    plant(redis)
    found = doctor.only()
    assert (found["name"], found["subject"]) == (name, subject)
    assert found["severity"] == ["note", "warning", "error"][status]
    doctor.mend(found)


def test_nothing_is_found_in_a_store_that_is_well(doctor: Doctor, redis: Redis) -> None:
    FINE(redis)
    redis.hset("options:a.test", mapping={"policy": "hash", f"weight:{A}": "3"})
    rows("b.test/x", "site", A)(redis)
    redis.sadd("paths:b.test", "/x")
    redis.hset("options:b.test", "policy", "hash")  # for the prefix, which inherits it
    redis.hset("options:b.test/x", "strip", "on")
    redis.set(f"dead:a.test:{A}", "planb's lock", ex=30)
    redis.set("frontends", "another program's")
    redis.sadd("dead:a.test", 0)
    redis.expire("dead:a.test", 30)
    status, output = doctor.run("doctor", "--config", str(doctor.config))
    assert status == 0
    assert f"note: a.test: {A} is marked dead by another program, for " in output
    assert output.endswith(" (2 frontends)\n2 notes\n")


def test_a_mark_from_the_future_names_the_machine(doctor: Doctor, redis: Redis) -> None:
    FINE(redis)
    ahead(redis)
    found = doctor.only()
    assert found["name"] == "clock"
    assert found["problem"].startswith(f"web7 has marked {A} dead for 36")


def test_a_mark_by_hand_may_last_for_long(doctor: Doctor, redis: Redis) -> None:
    FINE(redis)
    words = ("dead", "mark", "a.test", A, "--for", "3600", "--config", str(doctor.config))
    assert doctor.run(*words)[0] == 0
    assert {f["name"] for f in doctor.findings()} == {"redis-forgets"}


def test_a_mended_list_keeps_what_was_right(doctor: Doctor, redis: Redis) -> None:
    redis.rpush("frontend:a.test", A, B, "http://", B)
    redis.expire("frontend:a.test", 1000)
    redis.hset("options:a.test", "policy", "hash")
    doctor.mend(next(f for f in doctor.findings() if f["name"] == "no-identifier"))
    assert redis.lrange("frontend:a.test", 0, -1) == ["a.test", A, B]
    assert 900 < redis.ttl("frontend:a.test") <= 1000
    assert redis.hgetall("options:a.test") == {"policy": "hash"}


def test_a_frontend_whose_backends_are_all_dead(doctor: Doctor, redis: Redis) -> None:
    rows("a.test", "site", A)(redis)
    doctor.run("dead", "mark", "a.test", A, "--reason", "burns", "--config", str(doctor.config))
    found = doctor.only()
    assert found["problem"] == "all its backends are marked dead: burns"
    doctor.mend(found)


def test_a_large_table_is_looked_at_in_parts_or_as_a_sample(doctor: Doctor, redis: Redis) -> None:
    with redis.pipeline(transaction=False) as pipe:
        for number in range(3_000):
            pipe.rpush(f"frontend:host{number}.test", "id", A)
        pipe.sadd("paths:host1.test", "/api", "/gone")
        pipe.rpush("frontend:host1.test/api", "id", A)
        pipe.rpush("frontend:host2.test/lost", "id", A)
        pipe.rpush("frontend:host3.test.", "id", A)
        pipe.hset("options:host4.test", "policy", "hash")
        pipe.hset("options:nowhere.test", "policy", "hash")
        pipe.execute()
    found = {(f["name"], f["subject"]) for f in doctor.findings()} - {("no-routes", "")}
    assert {each for each in found if each[0] != "redis-forgets"} == {
        ("prefix-without-list", "paths:host1.test"),
        ("list-without-prefix", "host2.test/lost"),
        ("host-never-matches", "host3.test."),
        ("orphan", "options:nowhere.test"),
    }
    _, output = doctor.run("doctor", "--sample", "100", "--config", str(doctor.config))
    (count,) = re.findall(r"\(a sample of (\d+) frontends\)", output)
    assert 100 <= int(count) < 3_000


def test_keys_have_their_prefix(valkey: RedisServer, doctor: Doctor, redis: Redis) -> None:
    doctor.write(f"{valkey.url}#shop[1]:")
    redis.rpush("shop[1]:frontend:Up.test", "site", A)
    redis.rpush("frontend:Other.test", "not ours", A)
    doctor.mend(doctor.only())
    assert set(redis.keys("*")) == {"shop[1]:frontend:up.test", "frontend:Other.test"}


def test_what_stands_in_a_store_writes_nothing_to_the_terminal(
    doctor: Doctor, redis: Redis
) -> None:
    redis.rpush("frontend:a.test", "site", A, "http://\x1b[31mred")
    output = doctor.run("doctor", "--config", str(doctor.config))[1]
    assert "\x1b" not in output


def test_much_of_one_kind_is_shortened_for_people_only(doctor: Doctor, redis: Redis) -> None:
    for number in range(25):
        redis.rpush(f"frontend:{number}.test", "site")
    output = doctor.run("doctor", "--config", str(doctor.config))[1]
    assert output.count("it has no backend") == 20
    assert "and 5 more of no-backend; --json has all" in output
    assert len([f for f in doctor.findings() if f["name"] == "no-backend"]) == 25


# The server


@pytest.fixture
async def own(tmp_path: Path) -> Any:
    """A server that a test may spoil."""
    server = await RedisServer(tmp_path, "--repl-timeout", "60").start()
    yield server
    server.kill()


def test_a_server_that_evicts_or_is_full(own: RedisServer, doctor: Doctor) -> None:
    doctor.write(own.url)
    with redis_py.Redis(port=own.port) as redis:
        redis.config_set("maxmemory", int(redis.info()["used_memory"] * 1.05))
        redis.config_set("maxmemory-policy", "allkeys-lru")
        found = {f["name"]: f for f in doctor.findings()}
        assert found["redis-evicts"]["severity"] == "error"
        assert found["redis-memory"]["severity"] == "warning"
        for name in ("redis-evicts", "redis-memory", "redis-forgets"):
            doctor.mend(found[name])


def test_a_replica_without_its_primary(own: RedisServer, doctor: Doctor) -> None:
    doctor.write(own.url)
    with redis_py.Redis(port=own.port) as redis:
        redis.replicaof("127.0.0.1", str(free_port()))
    names = {f["name"]: f["severity"] for f in doctor.findings() if f["name"] != "no-routes"}
    assert names == {"redis-replica": "error", "redis-link": "error"}


def test_a_store_that_is_away_or_refuses_us(own: RedisServer, doctor: Doctor) -> None:
    with redis_py.Redis(port=own.port) as redis:
        redis.config_set("requirepass", "secret")
    doctor.write(own.url)
    found = doctor.only()
    assert (found["name"], found["severity"]) == ("store-away", "error")
    assert "user and password" in found["advice"]
    doctor.write(f"redis://:secret@127.0.0.1:{own.port}")
    assert [f["name"] for f in doctor.findings()] == ["no-routes", "redis-forgets"]
    own.kill()
    found = doctor.only()
    assert found["name"] == "store-away"
    assert "secret" not in json.dumps(found)


def test_the_embedded_store_is_looked_into_as_well(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    doctor.write("embedded:store")
    config = ("--config", str(doctor.config))
    assert doctor.run("redis", *config, "rpush", "frontend:a.test", A) == (0, "1\n")
    doctor.mend(doctor.only())
    answer = doctor.run("redis", *config, "lrange", "frontend:a.test", "0", "-1")
    assert answer == (0, f"a.test\n{A}\n")


def test_a_command_that_the_store_refuses_fails(doctor: Doctor) -> None:
    assert doctor.run("redis", "--config", str(doctor.config), "nonsense")[0] == 1


def test_a_file_with_a_fault(doctor: Doctor, tmp_path: Path) -> None:
    table = tmp_path / "routes.toml"
    doctor.write(f"file:{table}")
    table.write_text(f'["a.test"]\nbackends = ["{A}", "{A}"]\n')
    found = doctor.only()
    assert (found["name"], found["severity"]) == ("bad-table", "error")
    assert "line 2" in found["problem"]
    table.write_text(f'["a.test"]\nbackends = ["{A}"]\noptions = {{ policy = "none" }}\n')
    found = doctor.only()
    assert (found["name"], found["mend"]) == ("bad-option", "")  # a file answers no commands
    table.write_text('["a.test"]\nbackends = []\n')
    doctor.mend(doctor.only())


OLD_REDIS = {"redis_version": "5.0.14", "role": "master"}


@pytest.mark.parametrize(
    ("info", "names"),
    [
        ({"redis_version": "7.0.15"}, []),
        ({"redis_version": "2.8.0", "valkey_version": "8.1.0"}, []),
        (OLD_REDIS, ["redis-version"]),
        ({"redis_version": "7.0.15", "rdb_last_bgsave_status": "err"}, ["redis-disk"]),
        (
            {"redis_version": "7", "maxmemory": "9", "maxmemory_policy": "volatile-ttl"},
            ["redis-evicts"],
        ),
    ],
)
def test_what_info_tells(info: dict[str, str], names: list[str]) -> None:
    found = of_server(info, "redis:", alone=True, commands=Commands())
    assert [finding.name for finding in found] == names


@pytest.mark.parametrize(("coverage", "mends"), [
    ("no", []),
    ("yes", ["redis-cli -h 10.0.0.1 -p 6379 config set cluster-require-full-coverage no"]),
])  # fmt: skip
def test_a_cluster_whose_primaries_all_stop_with_one(coverage: str, mends: list[str]) -> None:
    assert [found.mend for found in of_coverage(coverage, "10.0.0.1:6379")] == mends


@pytest.mark.parametrize(
    ("theirs", "problem"),
    [
        (1001.9, None),
        (1010.0, "its clock is 10 s ahead of this machine's"),
        (940.0, "its clock is 60 s behind this machine's"),
    ],
)
def test_clocks_that_differ(theirs: float, problem: str | None) -> None:
    assert [f.problem for f in of_clock(theirs, 1000.0, "redis:")] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("value", "by_us", "names"),
    [
        ("995", True, []),
        ("995", False, ["foreign-checker"]),
        ("100", False, []),
        ("soon", False, ["checker-ping"]),
        ("5000", False, ["checker-ping"]),
    ],
)
def test_a_checkers_sign_of_life(value: str, by_us: bool, names: list[str]) -> None:
    assert [f.name for f in of_ping(value, by_us, 1000.0, Commands())] == names


def test_certificates_in_the_store(
    doctor: Doctor, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FINE(redis)
    good = {"certificate": chain(EXACT).decode(), "key": private(EXACT).decode()}
    redis.hset("tls:a.test", mapping=good)
    assert [f["name"] for f in doctor.findings()] == ["redis-forgets"]
    redis.hset("tls:a.test", "key", private(DEFAULT).decode())
    found = doctor.only()
    assert found["problem"] == "the key does not fit the certificate"
    assert found["mend"].endswith(' certificate "$(cat new.crt)" key "$(cat new.key)"')
    redis.hset("tls:a.test", mapping=good)
    monkeypatch.setattr("app.doctor.certificates.SOON", timedelta(days=999_999))
    assert doctor.only()["name"] == "certificate-expiry"


def test_certificates_that_are_not_ordered(doctor: Doctor, redis: Redis) -> None:
    FINE(redis)
    acme = {"directory": "https://127.0.0.1:1/directory"}
    values = json.loads(doctor.config.read_text())
    doctor.config.write_text(json.dumps(values | {"https": {"acme": acme}}))
    assert doctor.only()["name"] == "acme-not-agreed"
    doctor.config.write_text(json.dumps(values | {"https": {"acme": acme | {"agree": True}}}))
    state = {"error": "dns: no such name", "failures": [1.0], "not_before": 2e10}
    redis.set("acme:state:b.test", json.dumps(state))
    names = {found["name"] for found in doctor.findings()}
    assert names >= {"acme-no-https", "acme-port", "certificate-not-ordered"}
    [failing] = [f for f in doctor.findings() if f["name"] == "certificate-not-ordered"]
    assert (failing["subject"], failing["problem"]) == ("tls:b.test", "dns: no such name")
    assert failing["mend"].startswith("hipache cert order b.test")


def test_a_shut_frontend_is_no_reason_to_open_it(doctor: Doctor, redis: Redis) -> None:
    FINE(redis)
    redis.hset("options:a.test", mapping={"allow": "home", "forwardAuthCopy": "X-User"})
    found = [f for f in doctor.findings() if f["name"] == "bad-access"]
    assert len(found) == 2
    for finding in found:
        assert (finding["severity"], finding["mend"]) == ("error", "")
        assert "open the site" in finding["advice"]


def test_backends_that_need_the_extra_for_http2(
    doctor: Doctor, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows("a.test", "site", "h2c://10.0.0.1:80", "h2c+unix:/run/a", "https://10.0.0.2")(redis)
    redis.hset("options:a.test", "http2", "on")
    assert "never-connected" not in {found["name"] for found in doctor.findings()}
    monkeypatch.setattr("app.system.http2_extra.has_http2", lambda: False)
    found = [each for each in doctor.findings() if each["name"] == "never-connected"]
    assert [each["problem"].partition(": it needs the extra http2")[0] for each in found] == [
        "h2c://10.0.0.1:80", "h2c+unix:/run/a",
    ]  # fmt: skip


def test_receivers_of_alerts_that_are_not_there_or_never_told_are_named(
    doctor: Doctor, redis: Redis
) -> None:
    FINE(redis)
    values = json.loads(doctor.config.read_text())
    closed = f"http://127.0.0.1:{free_port()}/hooks/planted"
    there = f"http://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/"
    values["alerts"] = [{"url": closed}, {"url": "http://169.254.169.254/planted"}, {"url": there}]
    doctor.config.write_text(json.dumps(values))
    found = {f["name"]: f for f in doctor.findings()}
    assert found["alert-unreachable"]["subject"] == "alerts[0]"
    assert "Connection refused" in found["alert-unreachable"]["problem"]
    assert found["alert-never-sent"]["subject"] == "alerts[1]"
    assert "planted" not in json.dumps(found)
