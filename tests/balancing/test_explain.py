"""Every step of an explanation, for every state that a backend can be in."""

import doctest
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.balancing import explain_text as module
from app.balancing.explain import Explanation, explain, not_forwarded
from app.balancing.explain_text import as_text
from app.cli import main
from app.frontends.options import Options
from app.frontends.passwords import make_hash
from app.routing import Mark, lookup_keys, parse_frontend

A, B, C = "http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"
NOW = 1_000_000.0


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(module).failed == 0


def mark(until: float, since: float = NOW - 90) -> Mark:
    return Mark(until, since, "connection refused", "web1:77", 2)


def explained(*urls: str, marks: dict[str, Mark] | None = None, **options: str) -> Explanation:
    frontend = parse_frontend("*.example.com", ["site", *urls], options)
    keys = lookup_keys("www.example.com")
    return explain("www.example.com", keys, frontend, marks or {}, Options(), now=NOW)


def test_the_keys_that_were_tried_come_in_order() -> None:
    found = explained(A)
    assert (found.tried, found.matched) == (("www.example.com",), "*.example.com")
    assert not_forwarded("a.b", lookup_keys("a.b"), "400 frontend not found").tried == (
        "a.b",
        "*.b",
        "*",
    )


@pytest.mark.parametrize(
    ("options", "marks", "states", "choice"),
    [
        ({}, {}, ["live", "live"], (A, B)),
        ({}, {A: mark(NOW + 9)}, ["dead", "live"], (B,)),
        ({}, {A: mark(NOW - 9)}, ["on trial", "live"], (B,)),
        ({f"drain:{A}": "on"}, {}, ["drained", "live"], (B,)),
        ({f"weight:{A}": "0"}, {}, ["drained", "live"], (B,)),
        ({f"backup:{A}": "on"}, {}, ["backup", "live"], (B,)),
        ({f"backup:{A}": "on"}, {B: mark(NOW + 9)}, ["backup", "dead"], (A,)),
        ({f"drain:{A}": "on"}, {B: mark(NOW + 9)}, ["drained", "dead"], (A,)),
        ({}, {A: mark(NOW + 9, NOW - 1), B: mark(NOW + 9, NOW - 2)}, ["dead", "dead"], (B,)),
        ({"panic": "off"}, {A: mark(NOW + 9), B: mark(NOW + 9)}, ["dead", "dead"], ()),
    ],
)
def test_the_choice_follows_from_the_states(
    options: dict[str, str], marks: dict[str, Mark], states: list[str], choice: tuple[str, ...]
) -> None:
    found = explained(A, B, marks=marks, **options)
    assert [state.state for state in found.backends] == states
    assert found.choice == choice


def test_bad_entries_keep_their_place_in_the_list() -> None:
    found = explained(A, "http://", B)
    assert [(state.index, state.state) for state in found.backends] == [
        (0, "live"),
        (1, "unusable"),
        (2, "live"),
    ]


def test_nothing_but_bad_entries_is_hipaches_502() -> None:
    assert explained("http://").why == "502 backend is invalid"
    assert explained().why == "502 Cannot find a valid backend"


def test_the_text_tells_each_step() -> None:
    found = explained(
        A, B, C, marks={A: mark(NOW + 30)}, policy="least_conn", sticky="sid",
        slowStart="soon", **{f"weight:{C}": "3"},
    )  # fmt: skip
    assert list(as_text(found, now=NOW)) == [
        "host      www.example.com",
        "          frontend:www.example.com  none",
        "matched   frontend:*.example.com  site",
        "policy    least_conn, sticky by cookie sid",
        "remark    option passed over: slowStart 'soon' is no number from 0 to 86400",
        f"backend 0 {A}  dead, weight 1, in flight ?, since 90 s, for 30 s more, failures 2, "
        "by web1:77, connection refused",
        f"backend 1 {B}  live, weight 1, in flight ?",
        f"backend 2 {C}  live, weight 3, in flight ?",
        f"choice    {B} 25.0%, {C} 75.0%",
        "why       of two at random, the one with fewer requests in flight",
    ]


def test_the_text_tells_that_backends_are_asked_over_http2() -> None:
    told = "http2     spoken to backends of h2c"
    for url in ("h2c://10.0.0.1", "h2c+unix:/run/a"):
        assert told in as_text(explained(url), now=NOW)
    assert not any("http2" in line for line in as_text(explained(A), now=NOW))
    both = as_text(explained("h2c://10.0.0.1", "https://10.0.0.2", http2="on"), now=NOW)
    assert f"{told}, offered to backends with TLS" in both


def test_the_text_tells_of_http2_where_it_is_offered() -> None:
    line = "http2     offered to backends with TLS"
    assert line in as_text(explained("https://10.0.0.1", http2="on"), now=NOW)
    assert line not in as_text(explained("https://10.0.0.1", http2="off"), now=NOW)
    for url in ("h2c://10.0.0.1", "h2c+unix:/run/a"):
        text = list(as_text(explained(url, http2="on"), now=NOW))
        assert line not in text
        assert f"choice    {url}" in text


HASH = make_hash(b"open sesame", b"0123456789abcdef", ln=1)


def test_the_guards_are_told_in_their_order_and_without_secrets() -> None:
    found = explained(
        A, allow="10.0.0.0/8", deny="10.9.0.0/16", maxInFlight="5", rateLimit="60/m burst 3",
        basicAuth=f"alice:{HASH}", forwardAuth="http://sso.test/ask?token=x",
    )  # fmt: skip
    assert found.guards == (
        "not from 10.9.0.0/16",
        "only from 10.0.0.0/8",
        "at most 5 at once in each worker",
        "3 at once from one client, then one every 1 s",
        "with the password of alice",
        "if http://sso.test/ask says so within 5 s",
    )
    text = "\n".join(as_text(found, now=NOW))
    assert "guard     only from 10.0.0.0/8" in text
    assert HASH not in text


def test_an_unreadable_guard_leaves_nobody_a_backend() -> None:
    found = explained(A, allow="home")
    assert (found.choice, found.why[:4]) == ((), "500 ")
    assert found.remarks[0].startswith("option unusable: allow: ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--client", "10.1.2.3"], "the only live one"),
        (["--client", "192.0.2.1"], "403 access from this address is not allowed"),
        (["-H", "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU="], "the only live one"),
        (["-H", "Authorization: Basic YWxpY2U6d3Jvbmc="], "401 authentication required"),
        (["-H", "Authorization: Bearer x"], "401 authentication required"),
    ],
)
def test_the_command_says_whom_a_guard_refuses(
    tmp_path: Path, arguments: list[str], why: str
) -> None:
    denied = ["http://169.254.169.254", "http://db.internal"]
    options = {"allow": "10.0.0.0/8", "basicAuth": f"alice:{HASH}"}
    options |= {f"drain:{url}": "on" for url in denied}
    routes = {"a.test": {"backends": [A, *denied], "options": options}}
    (tmp_path / "routes.json").write_text(json.dumps(routes))
    config = {
        "driver": f"file:{tmp_path}/routes.json",
        "server": {"denyBackends": ["*.internal"]},
        "admin": {"bind": None},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    file = ["--config", str(tmp_path / "config.json")]
    done = CliRunner().invoke(main, ["explain", "http://a.test/", *arguments, *file])
    assert done.exit_code == 0, done.output
    assert f"why       {why}" in done.output
    assert "never connected to: http://169.254.169.254" in done.output
    assert "never connected to: http://db.internal" in done.output


def test_what_stands_in_a_store_writes_nothing_to_the_terminal() -> None:
    evil = "\x1b[2J\n\u202e"
    rows = [evil, f"{A}\n", f"ftp://{evil}", B]
    frontend = parse_frontend("*.example.com", rows, {"policy": evil, f"drain:{evil}": "on"})
    marks = {f"{A}\n": Mark(NOW + 9, NOW, evil, evil, 1)}
    keys = lookup_keys("www.example.com")
    found = explain("www.example.com", keys, frontend, marks, Options(), now=NOW)
    assert all(line.isprintable() for line in as_text(found, now=NOW))


def test_a_backend_whose_engine_is_missing_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "h2c://10.0.0.1:50051"
    (tmp_path / "routes.json").write_text(json.dumps({"a.test": {"backends": [url]}}))
    config = {"driver": f"file:{tmp_path}/routes.json", "admin": {"bind": None}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("app.system.http2_extra.has_http2", lambda: False)
    words = ["explain", "http://a.test/", "--config", str(tmp_path / "config.json")]
    output = CliRunner().invoke(main, words).output
    assert f"never connected to: {url}: it needs the extra http2: pip install" in output
    assert "choice    none" in output
