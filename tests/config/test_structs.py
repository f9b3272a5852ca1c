"""What config.json may say, in every form a Hipache ever took."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from app.config.structs import Bind, Config, ServerConfig, parse, render
from app.errors import ConfigError


def test_an_empty_file_means_hipaches_defaults():
    config = parse("{}")
    assert config == Config(server=ServerConfig(), source="config.json")
    assert config.driver == ("redis:",)
    assert config.http.binds == (Bind(address="127.0.0.1", port=80),)
    assert (config.server.workers, config.server.max_sockets) == (0, 100)


def test_a_byte_order_mark_is_no_mistake():
    assert parse("\ufeff{}") == parse("{}")


def test_a_file_of_0_4_is_read_as_documented():
    config = parse(
        """{"server": {"workers": 2, "tcpTimeout": 5, "deadBackendTTL": 7, "retryOnError": 0,
        "deadBackendOn500": false, "httpKeepAlive": false, "staticDir": "/pages", "debug": true},
        "http": {"port": 1080, "bind": ["127.0.0.1", {"address": "::1", "port": 81}]},
        "driver": "redis://:pw@h:1/2#p", "user": "dmp", "group": "staff"}"""
    )
    server = config.server
    assert (server.workers, server.tcp_timeout, server.dead_backend_ttl) == (2, 5.0, 7.0)
    assert (server.retry_on_error, server.dead_backend_on500) == (0, False)
    assert (server.http_keep_alive, server.static_dir, server.debug) == (False, "/pages", True)
    assert [(bind.address, bind.port) for bind in config.http.binds] == [
        ("127.0.0.1", 1080),
        ("::1", 81),
    ]
    assert (config.driver, config.user, config.group) == (("redis://:pw@h:1/2#p",), "dmp", "staff")
    assert config.warnings == ()


def test_times_are_written_as_on_a_command_line():
    config = parse(
        """{"server": {"tcpTimeout": "10m", "responseTimeout": "1.5s", "backendMaxAge": "0"},
        "memory": {"gracefulWait": "2h"}, "healthCheck": {"interval": "30s", "path": "/10m"},
        "https": {"hsts": "7d", "acme": {"wait": "5s"}, "bind": ["127.0.0.1"], "key": "1m",
        "cert": "1m"}}"""
    )
    server = config.server
    assert (server.tcp_timeout, server.response_timeout, server.backend_max_age) == (600, 1.5, 0)
    assert (config.memory.graceful_wait, config.https.acme.wait) == (7200, 5)
    assert (config.https.hsts, config.https.binds[0].key) == (7 * 86_400, "1m")
    assert config.health_check is not None
    assert (config.health_check.interval, config.health_check.path) == (30, "/10m")


def test_an_https_bind_inherits_what_it_does_not_name():
    config = parse(
        """{"https": {"port": 444, "key": "k", "cert": "c", "ca": "a", "passphrase": "p",
        "bind": ["::", {"address": "127.0.0.1", "port": 445, "key": "k2", "ciphers": "X"}]}}"""
    )
    first, second = config.https.binds
    assert (first.port, first.key, first.ca, first.passphrase) == (444, "k", ("a",), "p")
    assert (second.port, second.key, second.cert, second.ciphers) == (445, "k2", "c", "X")
    assert second.passphrase is None  # it opens the other key


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"server": {"wrokers": 3}}', "server.wrokers: unknown key; did you mean server.workers?"),
        ('{"workers": 3}', "workers: unknown key; did you mean server.workers?"),
        ('{"zzzzz": 3}', "zzzzz: unknown key"),
        ('{"warnings": []}', "warnings: unknown key"),
        (
            '{"http": {"bind": [{"address": "::", "prot": 1}]}}',
            "http.bind[0].prot: unknown key; did you mean http.bind[].port?",
        ),
        ('{"http2": true}', "http2: HTTP/2 is switched on by https.http2 and http.http2"),
        ('{"http": {"bind": [{"http2": true}]}}', "http.bind[0].http2: HTTP/2 is switched on by"),
        ('{"https": {"http2": "h2"}}', "https.http2: expected true or false or null, found"),
        ('{"server": {"workers": "3"}}', 'server.workers: expected a whole number, found "3"'),
        ('{"server": {"debug": 1}}', "server.debug: expected true or false, found 1"),
        ('{"server": {"staticDir": []}}', "server.staticDir: expected a string or null, found []"),
        ('{"server": 5}', "server: expected an object, found 5"),
        ('{"http": {"port": 65536}}', "http.port: expected a whole number <= 65535, found 65536"),
        ('{"server": {"tcpTimeout": -1}}', "server.tcpTimeout: expected a number >= 0.0, found -1"),
        (
            '{"server": {"tcpTimeout": "10 minutes"}}',
            'server.tcpTimeout: expected a number of seconds, or a time such as "10m", found "10 m',
        ),
        ('{"server": {"tcpTimeout": "9999d"}}', "server.tcpTimeout: expected a number <= 315"),
        ('{"server": {"maxSockets": "10m"}}', "server.maxSockets: expected a whole number, found"),
        ('{"server": {"tcpTimeout": 1e999}}', "server.tcpTimeout: expected a number <= 315"),
        ('{"http": {"bind": [{"port": 1}]}}', "http.bind[0]: expected a key address"),
        ('{"http": {"bind": "a b"}}', "http.bind[0]: expected an IP address, a host name"),
        ('{"https": {"bind": "::"}}', "https.bind[0]: expected a key and a cert"),
        ('{"server": {"trustedProxies": ["10.0.0.1/8"]}}', "expected a list of networks such as"),
        ('{"server": {"trustedProxies": ["unix:/a"]}}', "expected a list of networks such as"),
        ('{"server": {"dropFields": "X-A"}}', 'server.dropFields: expected a list, found "X-A"'),
        ('{"server": {"dropFields": ["X A"]}}', "dropFields: expected names of fields, as in X-U"),
        ('{"server": {"dropFields": ["Content*"]}}', "a request needs, such as content-length"),
        ('{"server": {"dropFields": ["*"]}}', "expected names of fields"),
        ('{"server": {"logFormat": "xml"}}', "server.logFormat: expected text or json, found"),
        (
            '{"server": {"accessLogFormat": "{clint}"}}',
            "server.accessLogFormat: unknown field {clint}; did you mean {client}?",
        ),
        ('{"server": {"accessLog": "syslog://"}}', "server.accessLog: expected syslog, syslog:/p"),
        ('{"server": {"accessLog": ""}}', "server.accessLog: expected a path"),
        ('{"a": 1, "a": 2}', "a: this key stands twice in one object"),
        ('{"a":\n  }', "not JSON: Expecting value at line 2, column 3"),
        ("[]", "expected an object, found []"),
        ('{"server": {"tcpTimeout": NaN}}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "a number is too long"),
        ('{"a\\nb": 1}', "a\\nb: unknown key"),
        ('{"admin": {"buckets": ["\\ud800"]}}', "a string holds \\ud800, which is half"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_key_expectation_and_finding(text, line):
    with pytest.raises(ConfigError) as caught:
        parse(text, source="my.json")
    assert str(caught.value).startswith("my.json: ")
    assert line in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        '{"driver": 5, "redisPassword": "s3cret"}',
        '{"redisPassword": ["s3cret"]}',
        '{"https": {"passphrase": ["s3cret"]}}',
        '{"https": ["s3cret-----BEGIN PRIVATE KEY-----"]}',
    ],
)
def test_no_error_tells_a_secret(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "s3cret" not in str(caught.value)


def test_what_is_rendered_is_read_again_as_the_same():
    config = parse(
        '{"server": {"trustedProxies": ["10.0.0.0/8", "::1", "unix:"], "lruCache": {"ttl": 3},'
        ' "dropFields": ["X-User", "X-Auth-*"]},'
        ' "http": {"bind": "::"}, "https": {"bind": ["::"], "key": "k", "cert": "c"}}'
    )
    trusted = config.server.trusted_proxies.value
    assert trusted.networks == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert trusted.unix
    assert config.server.drop_fields.written == ("X-User", "X-Auth-*")
    assert parse(render(config)) == config


def test_secrets_are_masked_in_what_is_rendered():
    config = parse(
        '{"driver": ["redis://u:s3cret@x@h/1#p", "rediss://h?password=s3cret"],'
        ' "https": {"passphrase": "s3cret", "key": "k", "cert": "c", "bind": "::"}}'
    )
    text = render(config)
    assert "s3cret" not in text
    assert json.loads(text)["driver"] == ["redis://***@h/1#p", "rediss://h?***"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"REDIS_URL": "redis://other"}, (("redis://other",), "127.0.0.1", 80, 0)),
        ({"PORT": "5000"}, (("redis:",), "0.0.0.0", 5000, 0)),
        ({"WEB_CONCURRENCY": "3"}, (("redis:",), "127.0.0.1", 80, 3)),
        ({"REDIS_URL": "", "PORT": "", "WEB_CONCURRENCY": ""}, (("redis:",), "127.0.0.1", 80, 0)),
    ],
)
def test_the_platforms_environment_wins_over_the_file(environ, expected):
    config = parse("{}", environ=environ)
    (bind,) = config.http.binds
    assert (config.driver, bind.address, bind.port, config.server.workers) == expected


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"PORT": "http"}, '$PORT: expected a whole number from 0 to 65535, found "http"'),
        ({"WEB_CONCURRENCY": "0"}, '$WEB_CONCURRENCY: expected a whole number from 1 to 1024'),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_names_the_variable(environ, line):
    with pytest.raises(ConfigError) as caught:
        parse("{}", environ=environ)
    assert str(caught.value).startswith(line)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"https": {"secureOptions": 50331648}}', "https.secureOptions"),
        (
            '{"server": {"https": {"key": "k", "cert": "c", "secureProtocol": "SSLv3_method"}}}',
            "server.https.secureProtocol",
        ),
        (
            '{"https": {"key": "k", "cert": "c", "bind": ["::", {"address": "::1",'
            ' "secureOptions": 50331648}]}}',
            "https.bind[1].secureOptions",
        ),
        ('{"https": {"bind": ["::"], "key": "k", "cert": "c"}}', None),
    ],
)
def test_a_key_without_effect_is_said(text, key):
    said = [line.split()[0] for line in parse(text).warnings if "has no effect: " in line]
    assert said == ([key] if key else [])


@pytest.mark.parametrize("name", ["", "a b", "Content-Length", "Connection", "é"])
def test_a_request_id_needs_a_field_of_its_own(name: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.requestIdHeader: expected the name of a field"):
        parse(json.dumps({"server": {"requestIdHeader": name}}))
