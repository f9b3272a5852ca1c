"""Values that are parsed when the file is read, and how they are told."""

import json
import pickle

import pytest

from app.config.parsed import HashBy, StickyCookie
from app.config.structs import Config, parse, render
from app.errors import ConfigError
from app.frontends.options import HashKey, Policy
from app.logs.log_target import LogTarget
from app.logs.record import AccessRecord, HeadRecord

WRITTEN = {
    "server": {
        "denyBackends": ["10.0.0.0/8", "*.internal", "unix:/run/private"],
        "accessLog": "syslog://log.test:99",
        "accessLogFormat": "{status} {host}",
    },
    "balance": {"policy": "hash", "hash": "header:X-User", "sticky": "on"},
    "admin": {"bind": "unix:/run/admin.sock"},
}
FILE = json.dumps(WRITTEN | {"driver": "Redis://u@h/2"})


@pytest.fixture
def config() -> Config:
    return parse(FILE)


def test_sections_hold_what_the_values_mean(config: Config) -> None:
    balance, bind, deny = config.balance, config.admin.bind, config.server.deny_backends.value
    assert balance.policy.value is Policy.HASH
    assert balance.hash.value == HashKey("header", b"x-user")
    assert balance.sticky == StickyCookie("on")
    assert StickyCookie("on").value == "hipache"
    assert bind is not None
    assert bind.value == ("/run/admin.sock", 0)
    assert config.server.access_log is not None
    assert config.server.access_log.value == LogTarget(syslog=("log.test", 99))
    (address,) = config.driver
    assert (address.scheme, address.rest) == ("redis", "//u@h/2")
    record = AccessRecord(0.0, HeadRecord(host="a.example"), status=204)
    assert config.server.access_log_format.value(record) == "204 a.example"
    assert deny.refuses("10.1.1.1")
    assert deny.refuses_name("db.internal")
    assert deny.refuses_socket("/run/private/a.sock")


def test_they_are_told_as_they_were_written(config: Config) -> None:
    told = json.loads(render(config))
    for section, values in WRITTEN.items():
        assert {key: told[section][key] for key in values} == values
    assert str(config.admin.bind) == "unix:/run/admin.sock"
    assert repr(config.balance.hash) == "HashBy('header:X-User')"


def test_equal_files_are_equal_and_go_to_another_process(config: Config) -> None:
    assert config == pickle.loads(pickle.dumps(config)) == parse(FILE)
    assert HashBy("client") != HashBy("cookie:a")
    assert HashBy("cookie:on") != StickyCookie("on")
    assert len({HashBy("client"), HashBy("client")}) == 1


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("balance", "policy", "fastest", "'fastest' is none of random, round_robin, least_conn"),
        ("balance", "policy", 5, "expected a string, found 5"),
        ("balance", "hash", "header:", "'header:' is none of client, header:NAME, cookie:NAME"),
        ("balance", "sticky", "a b", "'a b' is none of on, off, the NAME of a cookie"),
        ("server", "denyBackends", "10.0.0.0/8", "expected a list"),
        ("server", "denyBackends", [5], "expected a string"),
        ("server", "denyBackends", ["a b"], "'a b' is no network, no name and no unix:/path"),
        ("server", "accessLog", 5, "expected a path, stdout, syslog or null, found 5"),
        ("server", "accessLog", "a\nb", "expected a path, stdout, syslog or null, found "),
        ("admin", "bind", "8001", 'expected address:port or unix:/path, found "8001"'),
        ("admin", "bind", 8001, "expected a string, found 8001"),
    ],
)
def test_a_mistake_names_the_key(section: str, key: str, value: object, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps({section: {key: value}}))
    assert str(caught.value).startswith(f"config.json: {section}.{key}: {line}")
