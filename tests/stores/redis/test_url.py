"""URLs of Redis, Hipache's and ours."""

import doctest

import pytest

from app.config.store_address import StoreAddress
from app.stores.redis import url as url_module
from app.stores.redis.url import RedisURL, parse_url

LOCAL = (("127.0.0.1", 6379),)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(url_module).failed == 0


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("redis:", RedisURL(scheme="redis", addresses=LOCAL)),
        ("redis://", RedisURL(scheme="redis", addresses=LOCAL)),
        ("redis://h/2#p:",
         RedisURL(scheme="redis", addresses=(("h", 6379),), database=2, prefix="p:")),
        ("redis://:pw@h:7", RedisURL(scheme="redis", addresses=(("h", 7),), password="pw")),
        ("redis://u:p%40w@[::1]:7",
         RedisURL(scheme="redis", addresses=(("::1", 7),), username="u", password="p@w")),
        ("rediss://h?cafile=/ca.pem&verify=false",
         RedisURL(scheme="rediss", addresses=(("h", 6379),),
                tls=(("cafile", "/ca.pem"), ("verify", "false")))),
        ("unix:///run/redis.sock?db=3#p",
         RedisURL(scheme="unix", path="/run/redis.sock", database=3, prefix="p")),
        ("redis+sentinel://:pw@a,b:2/main/1",
         RedisURL(scheme="redis+sentinel", addresses=(("a", 26379), ("b", 2)), service="main",
                password="pw", database=1)),
    ],
)  # fmt: skip
def test_a_url_is_taken_apart(url: str, meaning: RedisURL) -> None:
    assert parse_url(StoreAddress(url)) == meaning


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("etcd://h", "expected one of redis:"),
        ("redis", "expected one of redis:"),
        ("unix:relative.sock", "expected unix:///path/to/redis.sock"),
        ("redis://h:0", "expected redis://[user]:password@host:port/database#prefix"),
        ("redis://h/x", "expected a database number"),
        ("rediss://h?verify=maybe", "expected verify=true or verify=false"),
        ("redis://h?colour=red", "unknown parameter colour"),
        ("redis+sentinel://h", "expected redis+sentinel://host:port,host:port/service"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_url(StoreAddress(url))
    assert complaint in str(refused.value)


@pytest.mark.parametrize("url", ["redis://u:s3cret@h/x", "redis://:s3cret@h?x=s3cret"])
def test_no_message_shows_a_password(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_url(StoreAddress(url))
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(parse_url(StoreAddress("redis://u:s3cret@h")))
