"""The guards' options: what they may say, and that a mistake in them lets nobody in."""

from __future__ import annotations

import doctest

import pytest

from app.fields.networks import Networks
from app.frontends import passwords, protection, rates
from app.frontends.option_names import ACCESS
from app.frontends.options import Options
from app.frontends.passwords import credentials, make_hash, parse_hash
from app.frontends.protection import Protection, parse_protection
from app.frontends.rates import Rate, one_client, parse_rate, take
from app.frontends.services import Service
from app.frontends.settings import settings_of
from app.routing import Backend

HASH = make_hash(b"open sesame", b"0123456789abcdef", ln=1)


@pytest.mark.parametrize("module", [passwords, protection, rates])
def test_the_examples_in_the_docstrings_hold(module) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"allow": "10.0.0.0/8"}, Protection(allow=Networks.parse(["10.0.0.0/8"]))),
        ({"deny": "::1, 192.0.2.7"}, Protection(deny=Networks.parse(["::1", "192.0.2.7"]))),
        ({"basicAuth": f"alice:{HASH}"}, Protection(users={"alice": parse_hash(HASH)})),
        ({"rateLimit": "10/s"}, Protection(rate=Rate(0.1, 10))),
        ({"rateLimit": "60/m burst 3"}, Protection(rate=Rate(1.0, 3))),
        ({"rateLimit": "36/h burst 1"}, Protection(rate=Rate(100.0, 1))),
        ({"maxInFlight": "50"}, Protection(max_in_flight=50)),
        (
            {
                "forwardAuth": "https://sso.test:8443/ask?site=1",
                "forwardAuthTimeout": "0.5",
                "forwardAuthCopy": "X-User, x-groups",
            },
            Protection(
                forward_auth=Service(
                    Backend("https://sso.test:8443/ask?site=1", 0, "https", "sso.test", 8443),
                    b"/ask?site=1",
                    b"sso.test:8443",
                ),
                forward_timeout=0.5,
                forward_copy=(b"x-user", b"x-groups"),
            ),
        ),
    ],
)
def test_every_option_has_its_effect(raw: dict[str, str], expected: Protection) -> None:
    assert parse_protection(raw) == (expected, ())
    assert settings_of(raw).over(Options()).protection == expected


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"rateLimit": "off"},
        {"maxInFlight": "0"},
        {"policy": "random"},
        {"allow": "off", "deny": "off", "basicAuth": "off", "forwardAuth": "off"},
    ],
)
def test_nothing_to_guard_is_nothing_to_look_at(raw: dict[str, str]) -> None:
    assert settings_of(raw).over(Options()).protection is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allow", ""), ("allow", "home"), ("allow", "10.0.0.1/8"), ("allow", "10.0.0.0/8;::1"),
        ("deny", ""), ("deny", "10.0.0.0/33"), ("deny", "::ffff:10.0.0.1"), ("deny", "*"),
        ("basicAuth", ""), ("basicAuth", "alice"), ("basicAuth", "alice:secret"),
        ("basicAuth", HASH), ("basicAuth", f":{HASH}"), ("basicAuth", f"alice:{HASH}x$"),
        ("basicAuth", f"alice:{HASH} bob:"), ("basicAuth", "alice:$2y$05$abcdefghijklmnopqrstuv"),
        ("basicAuth", "alice:" + HASH.replace("ln=1,", "ln=31,")),
        ("basicAuth", "alice:" + HASH.replace("ln=1,", "ln=0,")),
        ("forwardAuth", ""), ("forwardAuth", "sso.test"), ("forwardAuth", "ftp://sso.test"),
        ("forwardAuth", "http://a:b@sso.test"), ("forwardAuth", "http://sso.test/a b"),
        ("forwardAuth", "http://sso.test:0"), ("forwardAuth", "unix:/run/sso.sock"),
        ("forwardAuth", "http://sso.test/\u00e9"), ("forwardAuth", "http://"),
        ("forwardAuthTimeout", "5"), ("forwardAuthTimeout", "nan"), ("forwardAuthTimeout", "0"),
        ("forwardAuthCopy", "X-User"), ("forwardAuthCopy", ""), ("forwardAuthCopy", "a:b"),
        ("forwardAuthCopy", "Host"), ("forwardAuthCopy", "Content-Length"),
        ("Allow", "10.0.0.0/8"), ("basic_auth", f"alice:{HASH}"), ("basicauth", ""),
        ("forward-auth", "http://sso.test"), ("allow:", "::1"), ("deny:10.0.0.0/8", "on"),
        ("unreadable", "options:a.test is no hash"),
    ],
)  # fmt: skip
def test_a_mistake_in_who_may_enter_lets_nobody_in(name: str, value: str) -> None:
    settings = settings_of({name: value, "policy": "hash"})
    options, problems = settings.over(Options()), settings.problems
    assert options.protection is not None
    assert options.protection.unreadable
    assert options.policy == "hash"
    assert problems[0] == f"{options.protection.unreadable}; nobody may enter"
    assert "secret" not in problems[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rateLimit", "10"), ("rateLimit", "0/s"), ("rateLimit", "-1/s"), ("rateLimit", "1/d"),
        ("rateLimit", "1/s burst 0"), ("rateLimit", "1.5/s"), ("rateLimit", "\u0661/s"),
        ("maxInFlight", "-1"), ("maxInFlight", "many"), ("maxInFlight", "9" * 30),
        ("max_in_flight", "5"), ("RateLimit", "1/s"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_limit_only_takes_the_limit_away(name: str, value: str) -> None:
    settings = settings_of({name: value, "allow": "::1"})
    options, problems = settings.over(Options()), settings.problems
    assert options.protection == Protection(allow=Networks.parse(["::1"]))
    assert len(problems) == 1


def test_the_first_five_are_the_ones_that_close() -> None:
    for name in ACCESS:
        raw = {name: "\0"}
        found = parse_protection(raw)[0]
        assert found is not None
        assert found.unreadable, name


@pytest.mark.parametrize(
    ("allow", "deny", "address", "enters"),
    [
        ("10.0.0.0/8", "", "10.1.2.3", True),
        ("10.0.0.0/8", "", "11.1.2.3", False),
        ("10.0.0.0/8", "10.9.0.0/16", "10.9.0.1", False),
        ("10.0.0.0/8", "", "::ffff:10.1.2.3", True),
        ("", "10.0.0.0/8", "::ffff:10.1.2.3", False),
        ("", "10.0.0.0/8", "2001:db8::1", True),
        ("2001:db8::/32", "", "2001:db8::1", True),
        ("10.0.0.0/8", "", "", False),
        ("10.0.0.0/8", "", "not an address", False),
    ],
)
def test_who_is_let_in(allow: str, deny: str, address: str, enters: bool) -> None:
    raw = {name: value for name, value in (("allow", allow), ("deny", deny)) if value}
    found = parse_protection(raw)[0]
    assert found is not None
    assert found.lets_in(address) is enters


# Passwords.


def test_a_hash_knows_its_password_and_no_other() -> None:
    kept = parse_hash(HASH)
    assert kept.matches(b"open sesame")
    assert not kept.matches(b"open sesam")
    assert not kept.matches(b"")
    assert parse_hash(make_hash(b"a", b"x" * 16, ln=2)).matches(b"a")


def test_a_hash_does_not_show_itself() -> None:
    kept = parse_hash(HASH)
    for text in (repr(kept), str(kept), f"{Protection(users={'a': kept})}"):
        assert HASH.rpartition("$")[2] not in text
        assert repr(kept.digest) not in text


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (None, None), (b"", None), (b"Basic", None), (b"Basic ", None), (b"Bearer YTpi", None),
        (b"Basic YTpi", ("a", b"b")), (b"bAsIc   YTpi", ("a", b"b")), (b"Basic YTo=", ("a", b"")),
        (b"Basic YQ==", None), (b"Basic YTpi!", None), (b"Basic YTp", None),
        (b"Basic YTpiOmM=", ("a", b"b:c")), (b"Basic /zph", ("\\xff", b"a")),
        (b"Basic \xff\xfe", None), (b"Basic YTpi, Basic YTpj", None),
    ],
)  # fmt: skip
def test_credentials(field: bytes | None, found: tuple[str, bytes] | None) -> None:
    assert credentials(field) == found


# Rates.


@pytest.mark.parametrize(
    ("rate", "times", "passes"),
    [
        ("1/s burst 1", [0, 0.5, 0.99, 1, 1.9, 2], [1, 0, 0, 1, 0, 1]),
        ("1/s burst 3", [0, 0, 0, 0, 1, 1, 5, 5, 5, 5], [1, 1, 1, 0, 1, 0, 1, 1, 1, 0]),
        ("10/s", [0] * 10 + [0, 0.1, 0.1], [1] * 10 + [0, 1, 0]),
        ("2/h burst 1", [0, 1799, 1800], [1, 0, 1]),
    ],
)
def test_who_comes_too_early(rate: str, times: list[float], passes: list[int]) -> None:
    parsed, due, seen = parse_rate(rate), 0.0, []
    assert parsed is not None
    for now in times:
        due, early = take(due, 1e9 + now, parsed)
        seen.append(0 if early else 1)
    assert seen == passes


def test_what_is_told_to_wait_may_come_after_it() -> None:
    rate = Rate(1.0, 2)
    due = 0.0
    for _ in range(2):
        due, early = take(due, 7.0, rate)
        assert not early
    due, early = take(due, 7.25, rate)
    assert early == 0.75
    assert take(due, 7.25 + early, rate)[1] == 0


@pytest.mark.parametrize("address", ["", "unix", "10.0.0.1", "::1%eth0", "1:2:3"])
def test_any_address_is_somebody(address: str) -> None:
    assert isinstance(one_client(address), str)
