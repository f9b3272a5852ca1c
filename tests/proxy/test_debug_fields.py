"""`X-Debug`: Hipache's fields for those who may see them, and for nobody else."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from app.cli import main
from app.config.structs import parse, render
from app.fields.forwarded import ForwardedFields
from app.fields.networks import Networks, Peers
from app.main import create_app
from app.proxy.debug_fields import DebugFields, DebugTickets
from tests.backends import ScriptedBackend, answer, answering
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.serving import Proxy, config_of, proxying

SECRET = "s3cret"
FILE = '{"server": {"debugSecret": "s3cret"}}'


@pytest.fixture
async def backend() -> AsyncIterator[ScriptedBackend]:
    async with answering(answer(b"hello")) as made:
        yield made


async def fields(
    proxy: Proxy, backend: ScriptedBackend | str, request: bytes = b"X-Debug: 1\r\n"
) -> dict[str, str]:
    await proxy.route("a.test", backend)
    reply = await proxy.talk(b"GET / HTTP/1.1\r\nHost: A.test:80\r\n%b\r\n" % request)
    return {k.lower(): v for k, v in re.findall(r"(?mi)^(x-debug[^:]*): (.*)\r$", reply.decode())}


async def test_the_fields_are_hipaches(valkey: RedisServer, backend: ScriptedBackend) -> None:
    async with proxying(valkey) as proxy:
        told = await fields(proxy, backend)
    times = [int(told.pop(f"x-debug-time-{name}")) for name in ("backend", "total")]
    assert 0 <= times[0] <= times[1]
    assert told.pop("x-debug-version-hipache")
    assert told == {
        "x-debug-backend-url": f"http://127.0.0.1:{backend.port}/",
        "x-debug-backend-id": "0",
        "x-debug-vhost": "the-site",
        "x-debug-frontend-key": "a.test",
    }
    assert backend.requests[0].get(b"x-debug") is None


async def test_our_own_pages_tell_the_whole_reason(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy:
        told = await fields(proxy, f"http://127.0.0.1:{free_port()}")
    assert told.pop("x-debug-version-hipache")
    assert told == {"x-debug-error": "cannot connect to the backend: Connection refused"}


async def test_who_does_not_ask_is_told_nothing(
    valkey: RedisServer, backend: ScriptedBackend
) -> None:
    async with proxying(valkey) as proxy:
        assert await fields(proxy, backend, b"Accept: */*\r\n") == {}


@pytest.mark.parametrize(
    ("server", "request_fields"),
    [
        pytest.param({"debugFrom": ["10.0.0.0/8"]}, b"", id="from elsewhere"),
        pytest.param({"debugFrom": []}, b"", id="nobody"),
        pytest.param({}, b"X-Forwarded-For: 6.6.6.6\r\n", id="a proxy that we do not know"),
        pytest.param({}, b"Forwarded: for=127.0.0.1\r\n", id="it says what it likes"),
        pytest.param(
            {"trustedProxies": ["127.0.0.1"]},
            b"X-Forwarded-For: 6.6.6.6\r\n",
            id="behind one that we know",
        ),
        pytest.param(
            {"debugFrom": [], "debugSecret": SECRET},
            b"X-Debug: %b\r\n" % DebugTickets("other").issue(2**33).encode(),
            id="a ticket of somebody else's",
        ),
        pytest.param(
            {"debugFrom": [], "debugSecret": SECRET},
            b"X-Debug: %b\r\n" % DebugTickets(SECRET).issue(1_000_000).encode(),
            id="a ticket whose time is over",
        ),
    ],
)
async def test_who_may_not_know_is_told_nothing(
    valkey: RedisServer, backend: ScriptedBackend, server: dict[str, Any], request_fields: bytes
) -> None:
    asking = request_fields if b"X-Debug" in request_fields else b"X-Debug: 1\r\n" + request_fields
    async with proxying(valkey, **server) as proxy:
        assert await fields(proxy, backend, asking) == {}
    assert backend.requests[0].get(b"x-debug") is None


async def test_a_client_behind_a_proxy_of_ours_may_ask(
    valkey: RedisServer, backend: ScriptedBackend
) -> None:
    server = {"trustedProxies": ["127.0.0.1"], "debugFrom": ["10.0.0.0/8"]}
    asking = b"X-Debug: 1\r\nX-Forwarded-For: 10.1.2.3\r\n"
    async with proxying(valkey, **server) as proxy:
        assert len(await fields(proxy, backend, asking)) == 7


async def test_a_ticket_opens_them_from_anywhere(
    valkey: RedisServer, backend: ScriptedBackend, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(FILE)
    done = CliRunner().invoke(main, ["debug-ticket", "--for", "2h", "--config", str(config)])
    ticket = done.stdout.strip()
    assert 7190 < int(ticket.partition(".")[0], 16) - time.time() <= 7200
    async with proxying(valkey, debugFrom=[], debugSecret=SECRET) as proxy:
        told = await fields(proxy, backend, b"X-Debug: %b\r\n" % ticket.encode())
    assert len(told) == 7


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--for", "10m"], 78, "server.debugSecret: expected a secret for signing"),
        (["--for", "8d"], 2, "is not a time such as 30s, 10m, 2h, up to 7d"),
        (["--for", "soon"], 2, "is not a time such as"),
    ],
)
def test_no_ticket_without_a_secret_or_a_time(
    tmp_path: Path, words: list[str], status: int, told: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    done = CliRunner().invoke(main, ["debug-ticket", *words, "--config", str(config)])
    assert done.exit_code == status
    assert told in done.output


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in render(parse(FILE))


@pytest.mark.parametrize("ticket", [b"", b".", b"x.y", b"-5.a", b"f" * 9000, b"\xff.\xff"])
def test_nonsense_is_no_ticket(ticket: bytes) -> None:
    assert not DebugTickets(SECRET).valid(ticket, 0.0)


async def test_under_any_other_server_too(valkey: RedisServer, backend: ScriptedBackend) -> None:
    app = create_app(config_of(valkey))
    async with app.router.lifespan_context(app):
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "the-site", f"http://127.0.0.1:{backend.port}")
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as client:
            reply = await client.get("/", headers={"X-Debug": "1"})
            assert reply.headers["x-debug-vhost"] == "the-site"
            assert "x-debug-vhost" not in (await client.get("/")).headers


def test_an_identifier_is_no_way_into_the_head() -> None:
    gate = DebugFields(Networks(), None, ForwardedFields(Peers()), version="1", clock=time.time)
    ((_, value),) = gate.of_error("a\r\nSet-Cookie: é")[1:]
    assert value == b"a\\r\\nSet-Cookie: \\xe9"
