"""The options that the configuration gives to every frontend."""

import pytest

from app.config.defaults import default_options
from app.config.structs import Config, parse
from app.errors import ConfigError
from app.frontends.options import HashKey, Options, Policy


def test_the_configuration_gives_the_defaults_of_all() -> None:
    config = parse(
        '{"balance": {"policy": "hash", "hash": "cookie:sid", "sticky": "on", "slowStart": 5,'
        ' "panic": false, "wakeTimeout": 90, "secret": "s"},'
        ' "https": {"redirect": true, "hsts": 60}}'
    )
    assert default_options(config) == Options(
        policy=Policy.HASH,
        hash_key=HashKey("cookie", b"sid"),
        sticky="hipache",
        slow_start=5,
        panic=False,
        wake_timeout=90,
        redirect=True,
        hsts=60,
    )
    assert config.balance.secret == "s"
    assert default_options(Config()) == Options()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("policy", '"fastest"'),
        ("hash", '"header"'),
        ("sticky", '"a b"'),
        ("wakeTimeout", "601"),
        ("wakeTimeout", '"1 m"'),
    ],
)
def test_a_wrong_value_in_the_configuration_stops_the_start(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"balance\.{key}.*"):
        parse(f'{{"balance": {{"{key}": {value}}}}}')
