"""The admin listener: who may ask, its limits, its description and its settings."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from app.admin.admin_listener import MAX_CONNECTIONS
from app.config.structs import parse
from app.errors import ConfigError
from tests.admin.serving import REQUESTS, observed
from tests.backends import answer, answering
from tests.ports import free_port
from tests.processes import command, write_config
from tests.redis_servers import RedisServer


async def test_who_may_ask(tmp_path: Path, valkey: RedisServer) -> None:
    async with observed(tmp_path, valkey.url, workers=1, token="t0psecret") as (service, admin):
        assert (await admin.http.get("/metrics")).status_code == 200
        for token in ("", "Bearer", "Bearer t0psecre", "Basic t0psecret", "Bearer t0psecret2"):
            wrong = await admin.http.get("/metrics", headers={"authorization": token})
            assert wrong.status_code == 401, token
            probe = await admin.http.get("/readyz", headers={"authorization": token})
            assert probe.status_code == 200
        assert b" 400 " in (await service.ask("127.0.0.1", "/metrics")).split(b"\r\n")[0]


async def test_it_is_as_strict_and_as_bounded_as_the_other_listeners(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (_, admin):
        host, port = admin.http.base_url.host, admin.http.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        idle = [await asyncio.open_connection(host, port) for _ in range(MAX_CONNECTIONS)]
        reader, writer = await asyncio.open_connection(host, port)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        for _, each in [*idle, (reader, writer)]:
            each.close()
        async with asyncio.timeout(10):
            while (await admin.http.get("/healthz")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_name_of_somebody_else_is_not_answered(tmp_path: Path, valkey: RedisServer) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (_, admin):
        for host, status in (("evil.test", 403), ("localhost:1", 200), ("[::1]:80", 200)):
            answered = await admin.http.get("/api/workers", headers={"host": host})
            assert answered.status_code == status


@pytest.mark.parametrize("bare", [False, True], ids=["hipache serve", "uvicorn"])
async def test_no_route_leads_to_the_admin_listener(
    tmp_path: Path, valkey: RedisServer, bare: bool
) -> None:
    """Of a bare uvicorn's workers one has it, and the other has to know."""
    address = f"127.0.0.1:{free_port()}"
    write_config(tmp_path, valkey.url, 2, admin={"bind": address})
    way = ("app.cli", "serve")
    if bare:
        way = ("uvicorn", "app:create_app", "--factory", "--workers", "2", "--port", "0")
    async with command(*way, cwd=tmp_path) as service, valkey.client as client:
        if bare:
            await service.bare_ready(2)
        else:
            await service.ready(2)
        await client.rpush("frontend:127.0.0.1", "id", f"http://{address}")
        for _ in range(20):
            reply = await service.ask("127.0.0.1", "/api/workers")
            assert reply.startswith(b"HTTP/1.1 508 "), reply


async def test_what_only_might_be_the_admin_listener_is_a_backend(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with answering(answer(b"hello")) as backend, valkey.client as client:
        write_config(tmp_path, valkey.url, 1, admin={"bind": f"127.0.0.1:{backend.port}"})
        await client.rpush("frontend:a.test", "id", backend.url)
        async with command("app.cli", "serve", cwd=tmp_path) as service:
            await service.ready(1)
            assert (await service.ask()).endswith(b"hello")


async def test_not_ready_until_a_store_was_reached(tmp_path: Path) -> None:
    driver = f"redis://127.0.0.1:{free_port()}"
    async with observed(tmp_path, driver, workers=1) as (_, admin):
        assert (await admin.http.get("/healthz")).status_code == 200
        assert (await admin.http.get("/readyz")).status_code == 503


async def test_a_taken_port_is_one_line_and_no_end(tmp_path: Path, valkey: RedisServer) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (_, admin):
        taken = f"{admin.http.base_url.host}:{admin.http.base_url.port}"
        (tmp_path / "second").mkdir()
        write_config(tmp_path / "second", valkey.url, 1, admin={"bind": taken})
        async with command("app.cli", "serve", cwd=tmp_path / "second") as service:
            await service.saw(f"no admin listener.*{taken}: the address is in use")
            await service.ready(1)


async def test_the_description_is_openapi_and_true(tmp_path: Path, valkey: RedisServer) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (service, admin):
        description = await admin.json("/api/openapi.json")
        try:
            validate(description)
        except OpenAPIValidationError as exc:
            pytest.fail(str(exc))
        await service.ask("a.test")
        await admin.until(REQUESTS, 1)
        async with valkey.client as client:
            for key in ("a.test", "a.test/api"):
                await client.rpush(f"frontend:{key}", "id", "http://127.0.0.1:1")
        for path in description["paths"]:
            answered = await admin.http.get(path.format(host="a.test", prefix="api"))
            kind = answered.headers["content-type"].partition(";")[0]
            assert kind in description["paths"][path]["get"]["responses"]["200"]["content"]
        for name in ("Worker", "Frontend"):
            [each] = await admin.json(f"/api/{name.lower()}s")
            schema = description["components"]["schemas"][name]
            assert each.keys() == schema["properties"].keys()


@pytest.mark.parametrize(
    ("admin", "problem"),
    [
        ({"bind": "0.0.0.0:8001"}, "admin.token: expected one"),
        ({"bind": "[::]:8001"}, "admin.token: expected one"),
        ({"bind": "8001"}, "admin.bind: expected address:port"),
        ({"bind": "127.0.0.1:70000"}, "admin.bind: expected address:port"),
        ({"token": "short"}, "admin.token: expected at least 8"),
        ({"buckets": [1, 0.5]}, "admin.buckets: expected at most 40 ascending"),
        ({"buckets": []}, "admin.buckets"),
        ({"buckets": [-1]}, "admin.buckets"),
    ],
)
def test_what_could_not_be_served_is_refused(admin: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(json.dumps({"admin": admin}))
    assert problem in str(raised.value)
    assert "short" not in str(raised.value)
