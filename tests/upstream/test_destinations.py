"""Where the proxy never connects, and requests that would go round in circles."""

from __future__ import annotations

import asyncio
import doctest
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from app.config import deny_list as destinations
from app.config.deny_list import DenyList, parse_deny_list
from app.config.structs import parse
from app.errors import BackendForbidden, BackendIsUs, ConfigError, LoopDetected
from app.fields import via as hops
from app.fields.headers import request_headers
from app.fields.via import MAX_PASSES, hop_name
from app.frontends.backends import parse_backend
from app.main import create_app
from app.upstream.destinations import Bound, Destinations, configured
from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import Proxy, config_of, proxying, serving

NAME = hop_name("here")
OURS = [(b"via", b"1.1 " + NAME)]


@pytest.mark.parametrize("module", [hops, destinations])
def test_the_examples_in_the_docstrings_hold(module) -> None:
    assert doctest.testmod(module).failed == 0


# Addresses.


@pytest.mark.parametrize(
    ("entries", "address", "refused"),
    [
        ([], "169.254.169.254", True),
        ([], "fd00:ec2::254", True),
        ([], "::ffff:169.254.169.254", True),
        ([], "64:ff9b::a9fe:a9fe", True),
        ([], "64:ff9b:1::a9fe:a9fe", True),
        ([], "64:ff9b:1:fea9:fe:a900::", False),
        ([], "64:ff9b:1:a9fe:a9:fe00::", True),
        ([], "64:ff9b:1:aa:fe:a9fe::", False),
        ([], "64:ff9b:1:12a9:fe:a9fe::", True),
        ([], "64:ff9b:1:1234:a9:fea9:fe00:0", True),
        ([], "64:ff9b:2::a9fe:a9fe", False),
        ([], "2002:a9fe:a9fe::1", True),
        ([], "2002:a9fe:a9fe:ffff:1:2:3:4", True),
        ([], "2002:a9fe:a9fd::1", False),
        ([], "2003:a9fe:a9fe::1", False),
        ([], "::169.254.169.254", True),
        ([], "::169.254.169.253", False),
        ([], "::ffff:0:169.254.169.254", True),
        ([], "::ffff:0:169.254.169.254%eth0", True),
        ([], "::1:0:169.254.169.254", False),
        ([], "fd00:ec2::254%eth0", True),
        ([], "169.254.170.2", True),
        ([], "100.100.100.200", True),
        ([], "169.254.169.253", False),
        ([], "10.0.0.1", False),
        ([], "::1", False),
        ([], "no address", True),
        (["10.0.0.0/8"], "10.9.9.9", True),
        (["10.0.0.0/8"], "::ffff:10.9.9.9", True),
        (["10.0.0.0/8"], "64:ff9b::a09:909", True),
        (["10.0.0.0/8"], "64:ff9b:1::10.9.9.9", True),
        (["10.0.0.0/8"], "2002:a09:909::", True),
        (["10.0.0.0/8"], "::10.9.9.9", True),
        (["10.0.0.0/8"], "::ffff:0:10.9.9.9", True),
        (["64:ff9b::/96"], "64:ff9b::b00:1", True),
        (["2002::/16"], "2002:b00:1::1", True),
        (["0.0.0.0/8"], "::1", False),
        (["0.0.0.0/8"], "::", False),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.0/8"], "169.254.169.254", True),
        (["fd00::/8"], "fd12::1", True),
    ],
)
def test_which_addresses_are_refused(entries: list[str], address: str, refused: bool) -> None:
    assert parse_deny_list(entries).refuses(address) is refused


@pytest.mark.parametrize(
    ("entries", "name", "refused"),
    [
        (["db.internal"], "db.internal", True),
        (["db.internal"], "DB.Internal.", True),
        (["db.internal"], "x.db.internal", False),
        (["*.internal"], "db.internal", True),
        (["*.internal"], "internal", False),
        (["*.internal"], "notinternal", False),
        (["localhost"], "localhost", True),
        ([], "db.internal", False),
    ],
)
def test_which_names_are_refused(entries: list[str], name: str, refused: bool) -> None:
    assert parse_deny_list(entries).refuses_name(name) is refused


@pytest.mark.parametrize(
    "entry", ["", "a b", "10.0.0.1/8", "10.0.0.0/33", "http://a", "*", "unix:run", "*.*.a", "a..b"]
)
def test_an_entry_that_could_deny_nothing_stops_the_start(entry: str) -> None:
    with pytest.raises(ValueError):
        parse_deny_list([entry])
    with pytest.raises(ConfigError, match=r"server\.denyBackends"):
        parse(json.dumps({"server": {"denyBackends": [entry]}}))


def test_a_socket_is_refused_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "private")
    allowed = Destinations(DenyList(sockets=(str(tmp_path / "private"),)))
    for path in ("private/a.sock", "link/a.sock", "x/../private/a.sock"):
        with pytest.raises(BackendForbidden):
            allowed.check_socket(str(tmp_path / path))
    allowed.check_socket(str(tmp_path / "private2"))


def tcp(*addresses: str, port: int = 80) -> list[tuple[int, tuple[object, ...]]]:
    return [
        (socket.AF_INET6, (a, port, 0, 0)) if ":" in a else (socket.AF_INET, (a, port))
        for a in addresses
    ]


def test_a_name_keeps_the_addresses_that_are_allowed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "app.upstream.destinations")
    allowed = Destinations()
    some = tcp("169.254.169.254", "10.0.0.1")
    assert allowed.filter_permitted("a.test", some) == some[1:]
    for _ in range(3):
        with pytest.raises(BackendForbidden) as raised:
            allowed.filter_permitted("meta.test", tcp("169.254.169.254", "fd00:ec2::254"))
    assert raised.value.status == 502
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("bound", "address", "ours"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "192.0.2.1", False),
        ("::", "::1", True),
        ("::1", "::", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_what_arrives_at_our_own_listeners(bound: str, address: str, ours: bool) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    listeners: list[Bound] = [(family, (bound, 80)), (socket.AF_UNIX, "/run/hipache.sock")]
    allowed = Destinations(listening=lambda: listeners)
    assert allowed.filter_permitted("a", tcp(address, port=81)) == tcp(address, port=81)
    if ours:
        with pytest.raises(BackendIsUs):
            allowed.filter_permitted("a", tcp(address))
    else:
        assert allowed.filter_permitted("a", tcp(address)) == tcp(address)


def test_this_machines_own_address_is_known_without_a_list() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address = probe.getsockname()[0]
    allowed = Destinations(listening=lambda: [(socket.AF_INET, ("0.0.0.0", 80))])
    with pytest.raises(BackendIsUs):
        allowed.filter_permitted("a", tcp(address))


# Served.


async def test_a_backend_that_is_refused_is_left_for_another(valkey: RedisServer) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey) as proxy:
        await proxy.route("a.test", "http://169.254.169.254", "http://0xa9fea9fe/", backend)
        await proxy.route("only.test", "http://169.254.169.254")
        await proxy.route("mapped.test", "http://[::ffff:169.254.169.254]:80")
        for _ in range(8):
            assert (await proxy.get()).endswith(b"hello")
        for host in (b"only.test", b"mapped.test"):
            assert (await proxy.get(host=host)).startswith(b"HTTP/1.1 502 ")
        async with valkey.client as client:
            assert await client.keys("dead*") == []


async def test_what_the_configuration_denies(valkey: RedisServer) -> None:
    async with answering(answer(b"hello")) as backend:
        async with proxying(valkey, denyBackends=["127.0.0.0/8"]) as proxy:
            await proxy.route("a.test", backend)
            assert (await proxy.get()).startswith(b"HTTP/1.1 502 ")
            await proxy.route("b.test", f"http://localhost:{backend.port}")
            assert (await proxy.get(host=b"b.test")).startswith(b"HTTP/1.1 502 ")
        async with proxying(valkey, denyBackends=["localhost"]) as proxy:
            assert (await proxy.get()).endswith(b"hello")
            assert (await proxy.get(host=b"b.test")).startswith(b"HTTP/1.1 502 ")
    assert len(backend.requests) == 1


async def test_a_route_to_ourselves_is_508(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy:
        await proxy.route("a.test", f"http://127.0.0.1:{proxy.port}")
        await proxy.route("b.test", f"http://localhost:{proxy.port}")
        for host in (b"a.test", b"b.test"):
            assert (await proxy.get(host=host)).startswith(b"HTTP/1.1 508 Loop Detected\r\n")


@pytest.mark.parametrize("via", [True, False])
async def test_a_loop_over_somebody_else_is_cut(valkey: RedisServer, via: bool) -> None:
    """The backend is a TCP balancer that leads back to us."""

    async def back(conversation: Conversation) -> None:
        request = await conversation.head()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            writer.write(request.head)
            while data := await reader.read(65536):
                await conversation.send(data)
        finally:
            writer.close()
            await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})

    async with proxying(valkey, via=via) as proxy, scripted(back) as balancer:
        await proxy.route("a.test", balancer)
        client = await proxy.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 front\r\n\r\n")
        assert (await client.response())[0] == 508
    assert len(balancer.requests) == MAX_PASSES
    assert all((request.get(b"via") is not None) is via for request in balancer.requests)


@asynccontextmanager
async def second(valkey: RedisServer, **server: object) -> AsyncIterator[Proxy]:
    """Another Hipache, whose routes are under `outer:`."""
    config = config_of(valkey, **server)
    config = msgspec.structs.replace(config, driver=(f"{valkey.url}#outer:",))
    async with serving(create_app(config)) as port:
        yield Proxy(port, valkey)


@pytest.mark.parametrize("outer_via", [True, False])
@pytest.mark.parametrize("inner_via", [True, False])
async def test_a_loop_over_two_hipaches_is_cut(
    valkey: RedisServer, outer_via: bool, inner_via: bool
) -> None:
    async with (
        proxying(valkey, via=inner_via) as inner,
        second(valkey, via=outer_via) as outer,
        valkey.client as client,
    ):
        await inner.route("a.test", f"http://127.0.0.1:{outer.port}")
        inside = f"http://127.0.0.1:{inner.port}"
        await client.rpush("outer:frontend:a.test", "the-site", inside)
        connection = await inner.connect()
        connection.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await connection.response())[0] == 508


async def test_two_hipaches_in_a_row_are_no_loop(valkey: RedisServer) -> None:
    async with answering(answer(b"hello")) as backend, proxying(valkey) as inner:
        await inner.route("a.test", backend)
        async with second(valkey) as outer, valkey.client as client:
            inside = f"http://127.0.0.1:{inner.port}"
            await client.rpush("outer:frontend:a.test", "the-site", inside)
            reply = await outer.get()
    assert reply.endswith(b"hello")
    [request] = backend.requests
    vias = [value for name, value in request.headers if name == b"via"]
    assert len(vias) == len(set(vias)) == 2


# Via.


@pytest.mark.parametrize(
    ("vias", "loop"),
    [
        ([], False),
        ([b"1.1 varnish"], False),
        ([b"1.1 " + NAME], False),
        ([b"1.1 " + NAME, b"1.1 " + NAME], True),
        ([b"1.1 a, 1.0 " + NAME + b" (x), 1.1 b, HTTP/1.1 " + NAME], True),
        ([b"1.1 " + hop_name("elsewhere")] * 9, False),
        ([b""] * 3, False),
    ],
)
def test_who_has_been_here_before(vias: list[bytes], loop: bool) -> None:
    headers = [(b"host", b"a"), *((b"via", value) for value in vias)]
    if loop:
        with pytest.raises(LoopDetected):
            request_headers(headers, OURS)
    else:
        assert request_headers(headers, OURS) == headers + OURS


def test_a_name_tells_machines_apart_and_nothing_else() -> None:
    assert hop_name("redis://a", "edge-1") != hop_name("redis://a", "edge-2")
    assert hop_name("a", "bc") != hop_name("ab", "c")


# What is said of a URL without connecting to it.


@pytest.mark.parametrize(
    ("url", "objection"),
    [
        ("http://169.254.169.254", BackendForbidden), ("http://[fd00:ec2::254]", BackendForbidden),
        ("http://[::ffff:169.254.169.254]:80", BackendForbidden),
        ("http://10.9.0.1", BackendForbidden),
        ("http://db.internal", BackendForbidden), ("unix:/run/secret/x", BackendForbidden),
        ("http://127.0.0.1:8001", BackendIsUs), ("http://localhost:8001", None),
        ("http://0.0.0.0:8001", BackendIsUs), ("http://app.localhost:8002", BackendIsUs),
        ("http://127.0.0.1:8002", BackendIsUs), ("https://[::1]:8443", BackendIsUs),
        ("unix:/run/hipache/http.sock", BackendIsUs),
        ("unix:/run/../run/hipache/http.sock", BackendIsUs),
        ("http://127.0.0.1:8000", None), ("http://127.0.0.2:8001", None),
        ("http://name.example:8001", None), ("unix:/run/app.sock", None),
    ],
)  # fmt: skip
def test_what_a_proxy_of_this_configuration_would_refuse(
    url: str, objection: type[BackendForbidden] | None, caplog: pytest.LogCaptureFixture
) -> None:
    binds = [
        {"address": "127.0.0.1", "port": 8001}, {"address": "127.0.0.1", "port": 8002},
        {"address": "::1", "port": 8002}, {"address": "unix:/run/hipache/http.sock"},
    ]  # fmt: skip
    config = parse(json.dumps({
        "http": {"bind": binds}, "https": {"bind": "::", "port": 8443, "cert": "a", "key": "b"},
        "server": {"denyBackends": ["10.9.0.0/16", "*.internal", "unix:/run/secret"]},
    }))  # fmt: skip
    found = configured(config).objection(parse_backend(url, 0))
    assert type(found) is (objection or type(None))
    assert caplog.text == ""
