"""`hipache dead` and `hipache explain` on a real store, as an operator types them."""

import json
from collections.abc import Callable, Iterator

import pytest
import redis as redis_py
from click.testing import CliRunner

from app.balancing.sticky import secret_of, token_of
from app.cli import main
from app.config.structs import parse
from tests.ports import free_port
from tests.redis_servers import RedisServer

HOST, A, B = "www.example.com", "http://10.0.0.1:80", "http://10.0.0.2:80"

Hipache = Callable[..., str]


@pytest.fixture
def redis(valkey: RedisServer) -> Iterator[redis_py.Redis]:
    with redis_py.Redis(port=valkey.port, decode_responses=True) as client:
        client.rpush(f"frontend:{HOST}", "mysite", A, B)
        yield client


@pytest.fixture
def hipache(valkey: RedisServer, redis: object, tmp_path) -> Hipache:
    """Runs the command; gives what it printed, errors included."""

    def run(*words: str, fails: int = 0) -> str:
        config = tmp_path / "config.json"
        if not config.exists():
            config.write_text(json.dumps({"driver": valkey.url, "admin": {"bind": None}}))
        done = CliRunner().invoke(main, [*words, "--config", str(config)])
        assert done.exit_code == fails, done.output
        return done.output

    return run


def test_a_mark_by_hand_is_everybodys(hipache: Hipache, redis: redis_py.Redis) -> None:
    assert hipache("dead", "mark", HOST, B, "--for", "90") == f"{HOST}  {B}  dead for 90 s\n"
    assert redis.smembers(f"dead:{HOST}") == {"1"}
    assert 85 < redis.ttl(f"dead:{HOST}") <= 90
    (row,) = json.loads(hipache("dead", "list", "--json"))
    assert (row["frontend"], row["backend"], row["state"]) == (HOST, B, "dead")
    assert row["reason"] == "marked by hand"
    assert hipache("dead", "list", HOST).startswith(f"{HOST}  {B}  dead for ")
    assert hipache("dead", "list", "other.example") == ""


def test_marks_of_any_writer_are_listed_and_cleared(
    hipache: Hipache, redis: redis_py.Redis
) -> None:
    redis.sadd(f"dead:{HOST}", 0, 1)
    redis.set(f"dead:{HOST}:{A}", "planb's lock", ex=30)
    rows = json.loads(hipache("dead", "list", "--json"))
    assert [(row["backend"], row["by"], row["until"]) for row in rows] == [
        (A, "foreign", None),
        (B, "foreign", None),
    ]
    assert hipache("revive", HOST, A) == f"{HOST}  {A}  cleared\n"
    assert hipache("dead", "clear", HOST) == f"{HOST}  {B}  cleared\n"
    assert hipache("dead", "clear", HOST) == "no mark to clear\n"
    assert redis.keys("dead*") == [f"dead:{HOST}:{A}"]


def test_marks_under_a_host_of_a_wildcard_are_found_too(
    hipache: Hipache, redis: redis_py.Redis
) -> None:
    """Old Hipaches write them there."""
    redis.rpush("frontend:*.wild.test", "id", A, B)
    redis.sadd("dead:x.wild.test", 1)
    assert [row["frontend"] for row in json.loads(hipache("dead", "list", "--json"))] == [
        "x.wild.test"
    ]
    assert hipache("dead", "clear", "x.wild.test") == f"x.wild.test  {B}  cleared\n"
    assert redis.keys("dead*") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mark", HOST, "http://x"], f"http://x is not a backend of {HOST}, which has {A}, {B}"),
        (["mark", "a b", A], "malformed host header"),
        (["mark", "nowhere.test", A], "no frontend serves nowhere.test"),
        (["clear", "nowhere.test"], "no frontend serves nowhere.test"),
    ],
)
def test_what_can_not_be_done_is_one_line(hipache: Hipache, words: list[str], says: str) -> None:
    said = hipache("dead", *words, fails=1)
    assert said.startswith("hipache: ")
    assert says in said
    assert said.count("\n") == 1


def test_a_file_has_no_marks_to_show(hipache: Hipache, tmp_path) -> None:
    (tmp_path / "routes.json").write_text(json.dumps({HOST: {"id": "x", "backends": [A, B]}}))
    values = {"driver": f"file:{tmp_path}/routes.json", "admin": {"bind": None}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert "marks live in each worker" in hipache("dead", "list", fails=1)
    assert "remark    marks live in each worker" in hipache("explain", HOST)
    (tmp_path / "config.json").write_text(json.dumps(values | {"server": {"hooks": "not_there"}}))
    said = hipache("explain", HOST)  # and the module is not loaded
    assert "remark    hooks of not_there were not asked: they may decide otherwise" in said


def test_explain_tells_what_web_sockets_need_of_h2c(hipache: Hipache, tmp_path) -> None:
    remark = "remark    backends with h2c take WebSockets by RFC 8441 only, if their SETTINGS have "
    for url, scheme, told in (
        ("h2c://127.0.0.1:1", "ws", True),
        ("h2c+unix:/a", "wss", True),
        ("h2c://127.0.0.1:1", "http", False),
        ("http://127.0.0.1:1", "ws", False),
    ):
        (tmp_path / "routes.json").write_text(json.dumps({HOST: {"id": "x", "backends": [url]}}))
        values = {"driver": f"file:{tmp_path}/routes.json", "admin": {"bind": None}}
        (tmp_path / "config.json").write_text(json.dumps(values))
        assert (remark in hipache("explain", f"{scheme}://{HOST}/")) is told


def test_a_store_that_is_away_is_one_line(hipache: Hipache, tmp_path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"driver": f"redis://127.0.0.1:{free_port()}"})
    )
    for words in (["dead", "list"], ["explain", HOST]):
        assert hipache(*words, fails=1).startswith("hipache: redis://127.0.0.1:")


# explain


def test_explain_tells_every_step_and_changes_nothing(
    hipache: Hipache, redis: redis_py.Redis
) -> None:
    redis.delete(f"frontend:{HOST}")
    redis.rpush("frontend:*.example.com", "mysite", A, B)
    redis.hset("options:*.example.com", mapping={"policy": "round_robin", f"weight:{A}": "3"})
    before = sorted(redis.keys())
    assert hipache("explain", "https://WWW.example.com:8443/path?x") == (
        "host      www.example.com\n"
        "          frontend:www.example.com  none\n"
        "matched   frontend:*.example.com  mysite\n"
        "policy    round_robin\n"
        f"backend 0 {A}  live, weight 3, in flight ?\n"
        f"backend 1 {B}  live, weight 1, in flight ?\n"
        f"choice    {A} 75.0%, {B} 25.0%\n"
        "why       in turns, by weight\n"
    )
    assert sorted(redis.keys()) == before


def test_explain_without_a_frontend_names_all_keys(hipache: Hipache) -> None:
    said = json.loads(hipache("explain", "a.nowhere.test", "--json"))
    assert said["tried"] == ["a.nowhere.test", "*.nowhere.test", "*.test", "*"]
    assert (said["matched"], said["why"]) == (None, "400 frontend not found")


def test_explain_knows_where_a_hash_leads(hipache: Hipache, redis: redis_py.Redis) -> None:
    redis.hset(f"options:{HOST}", mapping={"policy": "hash", "hash": "header:X-User"})
    leads = {
        json.loads(hipache("explain", HOST, "-H", f"X-User: {user}", "--json"))["choice"][0]
        for user in range(12)
    }
    assert leads == {A, B}


def test_explain_knows_where_a_cookie_leads(
    hipache: Hipache, redis: redis_py.Redis, valkey: RedisServer
) -> None:
    redis.hset(f"options:{HOST}", mapping={"sticky": "sid"})
    token = token_of(
        secret_of(None, parse("{}", environ={"REDIS_URL": valkey.url}).driver), HOST, B
    )
    said = hipache("explain", HOST, "-H", f"Cookie: sid={token.decode()}")
    assert f"choice    {B}\nwhy       the cookie sid leads here\n" in said


@pytest.mark.parametrize("words", [["http://"], ["a b"], [HOST, "-H", "x"]])
def test_a_url_or_field_that_is_none_is_one_line(hipache: Hipache, words: list[str]) -> None:
    assert hipache("explain", *words, fails=1).startswith("hipache: ")
