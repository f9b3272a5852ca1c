"""The `options:<host>` hash: what it may say, and that nothing in it stops the traffic."""

import doctest
from pathlib import Path

import pytest

from app.frontends import options as module
from app.frontends.options import (
    NO_SETTINGS,
    HashKey,
    Options,
    Policy,
    settings_of,
)
from app.routing import Frontend, parse_frontend


def test_the_examples_in_the_docstrings_hold() -> None:
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
        ({"hsts": "60"}, Options(hsts=60.0)),
        ({"weight:http://a:80": "3"}, Options(weights={"http://a:80": 3.0})),
        ({"drain:http://a:80": "1", "drain:b": "0"}, Options(drained=frozenset({"http://a:80"}))),
        ({"backup:http://a:80": "on"}, Options(backups=frozenset({"http://a:80"}))),
    ],
)
def test_every_field_has_its_effect(raw: dict[str, str], expected: Options) -> None:
    assert parsed(raw) == (expected, ())


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
