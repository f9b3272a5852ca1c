"""The `options:<host>` hash: what it may say, and that nothing in it stops the traffic."""

import doctest
from pathlib import Path

import pytest

from app.frontends import options, settings
from app.frontends.option_names import MAX_OPTIONS, MAX_UNKNOWN
from app.frontends.options import HashKey, Options, Policy
from app.frontends.settings import MAX_GUESSES, NO_SETTINGS, settings_of
from app.routing import Frontend, parse_frontend, with_options


@pytest.mark.parametrize("module", [options, settings])
def test_the_examples_in_the_docstrings_hold(module) -> None:
    assert doctest.testmod(module).failed == 0


ROOT = Path(__file__).parents[2]
DEFAULTS = Options()


def parsed(raw: dict[str, str], defaults: Options = DEFAULTS) -> tuple[Options, tuple[str, ...]]:
    """What holds for a frontend with this hash, and the problems in it."""
    settings = settings_of(raw)
    return settings.over(defaults), settings.problems


def test_an_empty_hash_means_the_defaults() -> None:
    defaults = Options(policy=Policy.LEAST_CONN, sticky="sid")
    assert parsed({}, defaults) == (defaults, ())


def test_frontends_with_equal_options_share_one_object() -> None:
    def frontend(key: str, **options: str) -> Frontend:
        return parse_frontend(key, ["id", "http://10.0.0.1:80"], options)

    assert frontend("a").settings is frontend("b").settings is NO_SETTINGS
    one, other = (
        frontend("a", policy="hash", sticky="on"),
        frontend("b", sticky="on", policy="hash"),
    )
    assert one.settings is other.settings
    assert one.settings is not frontend("a", policy="hash").settings
    assert dict(one.options) == {"policy": "hash", "sticky": "on"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"policy": "round_robin"}, Options(policy=Policy.ROUND_ROBIN)),
        ({"policy": "hash", "hash": "client"}, Options(policy=Policy.HASH)),
        ({"hash": "header:X-User"}, Options(hash_key=HashKey("header", b"x-user"))),
        ({"hash": "cookie:SID"}, Options(hash_key=HashKey("cookie", b"SID"))),
        ({"sticky": "on"}, Options(sticky="hipache")),
        ({"sticky": "JSESSIONID"}, Options(sticky="JSESSIONID")),
        ({"sticky": "off"}, Options()),
        ({"slowStart": "7.5"}, Options(slow_start=7.5)),
        ({"panic": "off"}, Options(panic=False)),
        ({"redirect": "on"}, Options(redirect=True)),
        ({"http2": "on"}, Options(http2=True)),
        ({"hsts": "60"}, Options(hsts=60.0)),
        ({"weight:http://a:80": "3"}, Options(weights={"http://a:80": 3.0})),
        ({"drain:http://a:80": "1", "drain:b": "0"}, Options(drained=frozenset({"http://a:80"}))),
        ({"backup:http://a:80": "on"}, Options(backups=frozenset({"http://a:80"}))),
    ],
)
def test_every_field_has_its_effect(raw: dict[str, str], expected: Options) -> None:
    assert parsed(raw) == (expected, ())


def test_http2_is_for_backends_with_tls() -> None:
    rows = ["id", "https://a", "http://a", "unix:/a", "h2c://a"]
    frontend = parse_frontend("a.test", rows, {"http2": "on"})
    assert [backend.scheme for backend in frontend.backends] == ["h2", "http", "unix", "h2c"]
    assert [backend.url for backend in frontend.backends] == rows[1:]
    off = with_options(frontend, {"http2": "off"})
    assert [backend.scheme for backend in off.backends] == ["https", "http", "unix", "h2c"]


def test_a_frontend_may_switch_off_what_the_configuration_switched_on() -> None:
    defaults = Options(sticky="sid", slow_start=9, panic=True, drained=frozenset({"a"}))
    raw = {"sticky": "off", "slowStart": "0", "panic": "off", "drain:a": "off"}
    assert parsed(raw, defaults) == (Options(panic=False), ())


@pytest.mark.parametrize(
    "field",
    [
        ("policy", "fastest"), ("hash", "header:"), ("hash", "cookie:a b"), ("hash", "x"),
        ("sticky", "a;b"), ("slowStart", "-1"), ("slowStart", "soon"), ("panic", "perhaps"),
        ("weight:a", "nan"), ("weight:a", "inf"), ("weight:a", "-1"), ("drain:a", "maybe"),
        ("weight", "3"), ("colour", "red"), ("colour:a", "red"), ("weight:", "1"), ("", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_passed_over(field: tuple[str, str]) -> None:
    name, value = field
    options, problems = parsed({name: value, "slowStart:": "1", "backup:b": "1"} | dict([field]))
    assert options == Options(backups=frozenset({"b"}))
    assert any(name.partition(":")[0] in problem for problem in problems)


@pytest.mark.parametrize("policy", Policy)
def test_every_policy_is_explained(policy: Policy) -> None:
    page = (ROOT / "docs/balancing.md").read_text("utf-8")
    assert f"| `{policy}` |" in page
    assert f"`{policy}`" in page.partition("## Options of a frontend")[2]


# Fields for one backend, and the list that they name it in.

A, B = "http://10.0.0.1:80", "http://10.0.0.2:80"


@pytest.mark.parametrize("row", [A, f"{A}\n", f" {A}\r\n"])
@pytest.mark.parametrize("named", [A, f"{A}\n"])
def test_white_space_around_a_url_does_not_hide_its_options(row: str, named: str) -> None:
    raw = {f"drain:{named}": "on", f"weight:{named}": "2", f"backup:{named}": "on"}
    frontend = parse_frontend("a.test", ["id", row, B], raw)
    options = frontend.settings.over(DEFAULTS)
    assert options.drained == options.backups == {row}
    assert options.weights == {row: 2.0}
    assert frontend.settings.problems == ()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("drain:http://10.0.0.1:8", f" (did you mean {A}?)"),
        ("drain:10.0.0.1:80", f" (did you mean {A}?)"),
        ("weight:http://10.0.0.1:80/", f" (did you mean {A}?)"),
        ("backup:unix:/x", ""),
    ],
)
def test_an_option_for_a_backend_that_is_not_in_the_list_is_a_problem(name: str, told: str) -> None:
    settings = parse_frontend("a.test", ["id", A], {name: "1", "panic": "off"}).settings
    problem = f"{name!r} names no backend of the list{told}"
    assert settings.problems == (problem,)
    assert settings.unmatched == {name: problem}
    assert settings.over(DEFAULTS) == Options(panic=False)


def test_a_row_that_cannot_be_used_may_be_named() -> None:
    raw = {"drain:ftp://10.0.0.1": "on"}
    assert parse_frontend("a.test", ["id", A, "ftp://10.0.0.1"], raw).settings.problems == ()


def test_hashes_that_would_take_long_to_read_are_not_read() -> None:
    wrong = {f"polcy{number}": "hash" for number in range(MAX_UNKNOWN + 1)}
    assert "65 names are no options" in settings_of(wrong).values["protection"].unreadable
    many = {f"weight:http://10.0.0.1:{port}": "2" for port in range(1, MAX_OPTIONS + 2)}
    assert "8193 options" in settings_of(many).values["protection"].unreadable
    del wrong["polcy0"], many["weight:http://10.0.0.1:1"]
    assert "protection" not in settings_of(wrong).values
    assert len(settings_of(many).values["weights"]) == MAX_OPTIONS


def test_the_nearest_backend_is_looked_for_a_few_times_only() -> None:
    raw = {f"drain:http://10.0.0.1:{port}": "on" for port in range(100)}
    problems = parse_frontend("a", ["id", "http://10.0.0.1"], raw).settings.problems
    assert len(problems) == 100
    assert sum("did you mean" in problem for problem in problems) == MAX_GUESSES
