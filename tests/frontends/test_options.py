"""The `options:<host>` hash: what it may say, and that nothing in it stops the traffic."""

import doctest

import pytest

from app.config.structs import Balance, parse
from app.errors import ConfigError
from app.frontends import options
from app.frontends.options import HashKey, Options, Policy, default_options, parse_options


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(options).failed == 0


def test_an_empty_hash_means_the_defaults() -> None:
    defaults = Options(policy=Policy.LEAST_CONN, sticky="sid")
    assert parse_options({}, defaults) == (defaults, ())


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
        ({"weight:http://a:80": "3"}, Options(weights={"http://a:80": 3.0})),
        ({"drain:http://a:80": "1", "drain:b": "0"}, Options(drained=frozenset({"http://a:80"}))),
        ({"backup:http://a:80": "on"}, Options(backups=frozenset({"http://a:80"}))),
    ],
)
def test_every_field_has_its_effect(raw: dict[str, str], expected: Options) -> None:
    assert parse_options(raw) == (expected, ())


def test_a_frontend_may_switch_off_what_the_configuration_switched_on() -> None:
    defaults = Options(sticky="sid", slow_start=9, panic=True, drained=frozenset({"a"}))
    raw = {"sticky": "off", "slowStart": "0", "panic": "off", "drain:a": "off"}
    assert parse_options(raw, defaults) == (Options(panic=False), ())


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
    parsed, problems = parse_options(
        {name: value, "slowStart:": "1", "backup:b": "1"} | dict([field])
    )
    assert parsed == Options(backups=frozenset({"b"}))
    assert any(name.partition(":")[0] in problem for problem in problems)


def test_the_configuration_gives_the_defaults_of_all() -> None:
    balance = parse(
        '{"balance": {"policy": "hash", "hash": "cookie:sid", "sticky": "on", "slowStart": 5,'
        ' "panic": false, "secret": "s"}}'
    ).balance
    assert default_options(balance) == Options(
        policy=Policy.HASH,
        hash_key=HashKey("cookie", b"sid"),
        sticky="hipache",
        slow_start=5,
        panic=False,
    )
    assert balance.secret == "s"
    assert default_options(Balance()) == Options()


@pytest.mark.parametrize(
    ("key", "value"), [("policy", "fastest"), ("hash", "header"), ("sticky", "a b")]
)
def test_a_wrong_value_in_the_configuration_stops_the_start(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"balance\.{key}.*"):
        parse(f'{{"balance": {{"{key}": "{value}"}}}}')
