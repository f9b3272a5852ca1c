"""Old files work as they are: one of each Hipache, and what each old name became."""

from __future__ import annotations

import json

import pytest

from app.config.legacy import modern
from app.config.parsed import AccessLogTarget
from app.config.structs import parse
from app.errors import ConfigError

SEED = """{"server": {"accessLog": "/var/log/hipache_access.log", "port": 80, "workers": 5,
    "maxSockets": 100, "deadBackendTTL": 30,
    "https": {"port": 443, "key": "/etc/ssl/ssl.key", "cert": "/etc/ssl/ssl.crt"}},
    "redis": {"port": 6379, "host": "127.0.0.1"}}"""

V0_2_8 = """{"server": {"accessLog": "/a.log", "port": 81, "workers": 5, "maxSockets": 100,
    "deadBackendTTL": 30, "address": ["127.0.0.1"], "address6": ["::1"],
    "https": {"port": 444, "key": "k", "cert": "c"}},
    "redisHost": "10.0.0.1", "redisPort": 6380, "redisDatabase": 2, "redisPassword": "a:b@c/d"}"""

V0_3_1 = """{"server": {"port": 80, "address": ["127.0.0.1", "::1"], "retryOnError": 3,
    "lruCache": {"size": 5, "ttl": 2}}, "driver": "redis://:password@127.0.0.1:6379/0"}"""


def addresses(binds):
    return [(bind.address, bind.port) for bind in binds]


def test_the_founding_documents_file():
    config = parse(SEED)
    assert config.server.access_log == AccessLogTarget("/var/log/hipache_access.log")
    assert config.server.workers == 5
    assert addresses(config.http.binds) == [("0.0.0.0", 80), ("::", 80)]
    assert addresses(config.https.binds) == [("0.0.0.0", 443), ("::", 443)]
    assert {bind.key for bind in config.https.binds} == {"/etc/ssl/ssl.key"}
    assert config.driver == ("redis://127.0.0.1:6379",)


def test_a_file_of_0_2():
    config = parse(V0_2_8)
    assert addresses(config.http.binds) == [("127.0.0.1", 81), ("::1", 81)]
    assert addresses(config.https.binds) == [("127.0.0.1", 444), ("::1", 444)]
    assert config.driver == ("redis://:a%3Ab%40c%2Fd@10.0.0.1:6380/2",)


def test_a_file_of_0_3():
    config = parse(V0_3_1)
    assert addresses(config.http.binds) == [("127.0.0.1", 80), ("::1", 80)]
    assert (config.server.lru_cache.size, config.server.lru_cache.ttl) == (5, 2.0)
    assert config.driver == ("redis://:password@127.0.0.1:6379/0",)


def test_a_master_of_0_3_takes_the_writes():
    config = parse('{"redisHost": "read", "redisMasterHost": "::1", "redisMasterPort": 6380}')
    assert config.driver == ("redis://read", "redis://[::1]:6380")


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ('{"redis": {}}', "redis:"),
        ('{"redisPort": 7}', "redis://127.0.0.1:7"),
        ('{"redisHost": "h", "redisPassword": null, "redisDatabase": 0}', "redis://h"),
        ('{"redis": {"host": "seed"}, "redisHost": "newer"}', "redis://newer"),
        ('{"redisHost": "h", "redisMasterPort": 7}', "redis://h"),
    ],
)
def test_what_an_old_redis_key_leaves_out(text, driver):
    assert parse(text).driver == (driver,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"server": {"address": "10.0.0.1"}}', [("10.0.0.1", 80)]),
        ('{"server": {"address6": ["::1"]}}', [("0.0.0.0", 80), ("::1", 80)]),
        ('{"server": {"port": 90}, "http": {"port": 91}}', [("127.0.0.1", 91)]),
    ],
)
def test_where_an_old_file_listens(text, expected):
    assert addresses(parse(text).http.binds) == expected


def test_the_newer_of_two_names_wins_and_the_older_is_said():
    config = parse(
        '{"server": {"errorMaxRetries": 1, "retryOnError": 2, "port": 1, "https": {"port": 2}},'
        ' "http": {}, "https": {}, "redisHost": "h", "driver": "redis:"}'
    )
    assert config.server.retry_on_error == 2
    assert config.warnings == (
        "server.errorMaxRetries is ignored, because server.retryOnError is there",
        "server.port is ignored, because http is there",
        "server.https is ignored, because https is there",
        "redisHost is ignored, because driver is there",
    )


@pytest.mark.parametrize(
    ("text", "sent", "said"),
    [
        (SEED, True, True),
        (V0_2_8, True, True),
        (V0_3_1, True, True),
        ('{"redisHost": "h", "server": {"forwardedProtocol": false}}', False, False),
        ('{"server": {"forwardedProtocol": true}}', True, False),
        ('{"server": {}, "http": {"port": 80}, "driver": "redis:"}', False, False),
        ('{"server": {"port": 1}, "http": {}}', False, False),
    ],
)
def test_hipaches_own_field_is_sent_for_files_of_an_old_hipache(text, sent, said):
    config = parse(text)
    assert config.server.forwarded_protocol is sent
    assert any("forwardedProtocol is on" in line for line in config.warnings) is said


def test_a_modern_file_keeps_what_an_old_one_meant():
    assert json.loads(modern('{"redisHost": "h"}', "f"))["server"] == {"forwardedProtocol": True}


@pytest.mark.parametrize(
    ("value", "size", "ttl"),
    [("true", 10_000, 1.0), ("false", 10_000, 1.0), ('{"Size": 3, "ttl": 4}', 3, 4.0)],
)
def test_the_forms_of_the_lru_cache(value, size, ttl):
    config = parse(f'{{"server": {{"lruCache": {value}}}}}')
    assert (config.server.lru_cache.size, config.server.lru_cache.ttl) == (size, ttl)
    assert len(config.warnings) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"server": {"port": "x"}}', 'server.port: expected a whole number, found "x"'),
        (
            '{"server": {"address": [5]}}',
            "server.address[0]: expected an address or an object, found 5",
        ),
        ('{"server": {"errorMaxRetries": -1}}', "server.errorMaxRetries: expected a whole number"),
        ('{"server": {"https": {"prt": 1}}}', "server.https.prt: unknown key; did you mean"),
        ('{"server": {"https": 5}}', "server.https: expected an object, found 5"),
        ('{"redis": 5}', "redis: expected an object, found 5"),
        ('{"redis": {"hst": "h"}}', "redis.hst: unknown key; redis has host and port"),
        ('{"redis": {"port": "6379"}}', 'redis.port: expected a port from 1 to 65535, found "6'),
        ('{"redisHst": "h"}', "redisHst: unknown key; did you mean redisHost?"),
    ],
)
def test_a_mistake_is_told_by_the_name_it_was_written_under(text, line):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert line in str(caught.value)
