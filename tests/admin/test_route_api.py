"""Routes over HTTP: beside a service that runs, on each kind of store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.admin.route_api import MAX_BODY
from app.admin.route_edits import merged, parse_body
from app.config.structs import parse
from app.errors import ConfigError
from app.frontends.passwords import make_hash
from tests.admin.serving import observed
from tests.backends import answer, answering
from tests.ports import free_port
from tests.processes import Service
from tests.redis_servers import RedisServer

TOKEN = "t0psecret"
DEAD = "http://127.0.0.1:1"
USER = "alice:" + make_hash(b"swordfish", b"0123456789abcdef", ln=10)


class Served(NamedTuple):
    service: Service
    http: httpx.AsyncClient


@asynccontextmanager
async def served(folder: Path, driver: str, workers: int = 2) -> AsyncIterator[Served]:
    async with observed(folder, driver, workers, token=TOKEN, write=True) as (service, admin):
        yield Served(service, admin.http)


@pytest.fixture(params=["redis", "toml"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param != "redis":
        return f"file:{tmp_path}/routes.{request.param}"
    return f"{request.getfixturevalue('valkey').url}#test:"


async def test_a_frontend_is_made_changed_and_removed(tmp_path: Path, driver: str) -> None:
    if driver.startswith("file:"):
        await asyncio.to_thread(Path(driver[5:]).write_text, "# none yet\n")
    async with (
        answering(answer(b"old")) as old,
        answering(answer(b"new")) as new,
        served(tmp_path, driver) as (service, http),
    ):
        made = await http.put("/api/routes/A.test?wait=1", json={"backends": [old.url]})
        assert (made.status_code, made.json()) == (201, {"id": "a.test", "backends": [old.url]})
        assert {(await service.ask())[-3:] for _ in range(6)} == {b"old"}

        tag, body = made.headers["etag"], {"backends": [new.url], "options": {"panic": True}}
        changed = await http.put("/api/routes/a.test?wait=1", json=body, headers={"if-match": tag})
        assert (changed.status_code, changed.json()["options"]) == (200, {"panic": "true"})
        assert {(await service.ask())[-3:] for _ in range(6)} == {b"new"}
        late = await http.put("/api/routes/a.test", json=body, headers={"if-match": tag})
        assert (late.status_code, late.json()["where"]) == (412, "header If-Match")
        again = await http.put("/api/routes/a.test", json=body, headers={"if-none-match": "*"})
        assert again.status_code == 412

        patch = {"backends": [old.url], "options": {"panic": None, "policy": "hash"}}
        part = await http.patch("/api/routes/a.test?wait=1", json=patch)
        seen = {"id": "a.test", "backends": [old.url], "options": {"policy": "hash"}}
        assert (part.status_code, part.json()) == (200, seen)
        [last] = (await http.get("/api/journal?frontend=a.test&limit=1")).json()
        assert (last["by"], last["after"]) == ("admin token from 127.0.0.1", seen)
        assert last["before"]["backends"] == [new.url]
        assert (await http.get("/api/journal?limit=0")).status_code == 400
        assert (await http.get("/api/journal?frontend=a b")).status_code == 400
        shown = await http.get("/api/routes/a.test")
        assert (shown.json(), shown.headers["etag"]) == (seen, part.headers["etag"])
        known = {"if-none-match": f"W/{shown.headers['etag']}"}
        assert (await http.get("/api/routes/a.test", headers=known)).status_code == 304

        wrong = await http.delete("/api/routes/a.test", headers={"if-match": tag})
        assert wrong.status_code == 412
        assert (await http.delete("/api/routes/a.test?wait=1")).status_code == 204
        assert (await service.ask()).startswith(b"HTTP/1.1 400 ")
        for gone in (await http.get("/api/routes/a.test"), await http.delete("/api/routes/a.test")):
            assert (gone.status_code, gone.json()["error"]) == (404, "no frontend a.test")


async def test_prefixes_and_pages(tmp_path: Path, valkey: RedisServer) -> None:
    async with (
        answering(answer(b"api")) as api,
        served(tmp_path, valkey.url, workers=1) as (service, http),
    ):
        below = {"backends": [api.url], "options": {"strip": "on"}}
        made = await http.put("/api/routes/a.test/api%2Fv1/x/?wait=1", json=below)
        assert made.status_code == 201
        assert (await service.ask("a.test", "/api%2Fv1/x/y")).endswith(b"api")
        assert (await http.get("/api/routes/a.test")).status_code == 404
        inherited = {"options": {"hsts": "60"}}
        assert (await http.put("/api/routes/a.test", json=inherited)).status_code == 201
        assert (await http.get("/api/routes/a.test")).json() == inherited
        for number in range(5):
            made = await http.put(f"/api/routes/%2A.b{number}.test", json={"backends": [DEAD]})
            assert made.status_code == 201
        whole = (await http.get("/api/routes")).json()
        hosts = [f"*.b{number}.test" for number in range(5)]
        assert (list(whole["routes"]), whole["next"]) == (
            [*hosts, "a.test", "a.test/api%2Fv1/x"], None,
        )  # fmt: skip
        first = (await http.get("/api/routes?prefix=*.b&limit=3")).json()
        assert (list(first["routes"]), first["next"]) == (hosts[:3], hosts[2])
        rest = {"prefix": "*.b", "limit": "3", "after": first["next"]}
        assert list((await http.get("/api/routes", params=rest)).json()["routes"]) == hosts[3:]
        assert (await http.delete("/api/routes/a.test")).status_code == 204
        assert (await http.get("/api/routes/a.test")).status_code == 404


async def test_what_is_wrong_is_told_and_not_written(tmp_path: Path, valkey: RedisServer) -> None:
    good = {"backends": [DEAD]}
    bodies: list[tuple[Any, int, str]] = [
        ([], 422, "expected an object"),
        ({"backend": DEAD}, 422, "unknown key 'backend'"),
        ({}, 422, "backends: expected a list"),
        ({"backends": DEAD}, 422, "backends: expected a list"),
        ({"backends": ["ftp://a"]}, 422, "scheme is not http"),
        ({"backends": [DEAD, f"{DEAD}/"]}, 422, "is there twice"),
        ({"backends": ["http://0.0.35.141"]}, 422, ""),
        (good | {"options": {"polcy": "hash"}}, 422, "did you mean policy?"),
        (good | {"options": {"drain:http://127.0.0.1:2": "on"}}, 422, "names no backend"),
        (good | {"options": {"basicAuth": "alice:***"}}, 422, "basicAuth"),
        (good | {"options": {"policy": []}}, 422, "options.policy: expected a text"),
        (good | {"ttl": 0}, 422, "ttl: expected seconds"),
        (good | {"ttl": 10**15}, 422, "ttl: expected at most"),
        (good | {"healthcheck": {"url": "/"}}, 422, "healthcheck: unknown key"),
    ]
    texts = [
        ('{"backends": [', "line 1"), ('{"id": "a", "id": "b"}', "'id' is there twice"),
        ('{"ttl": NaN}', "NaN is not JSON"), ('{"id": "\\ud800"}', "expected UTF-8"),
        ("[" * 100_000, ""), ("", "line 1"),
    ]  # fmt: skip
    kind = {"content-type": "application/json"}
    async with served(tmp_path, valkey.url, workers=1) as (_, http):
        for body, status, complaint in bodies:
            said = await http.put("/api/routes/a.test", json=body)
            assert (said.status_code, said.json()["where"]) == (status, "body"), said.text
            assert complaint in said.json()["error"], body
        for text, complaint in texts:
            said = await http.put("/api/routes/a.test", content=text, headers=kind)
            assert said.status_code == 400, text[:20]
            assert complaint in said.json()["error"]
        for path in ("a b", "http:%2F%2Fa", "a.test:80", "*.a.b.c.d.e.f.g", ""):
            said = await http.put(f"/api/routes/{path}", json=good)
            assert (said.status_code, said.json()["where"]) == (400, "path"), path
        for query in ("a.test?wait=10", "a.test?wiat=1", "?limit=0", "?limit=1e3", "?page=2"):
            method = "PUT" if query[0] == "a" else "GET"
            place = f"/api/routes/{query}" if method == "PUT" else f"/api/routes{query}"
            said = await http.request(method, place, json=good)
            assert (said.status_code, said.json()["where"][:5]) == (400, "query"), query
        for other in ("text/plain", "application/x-www-form-urlencoded", ""):
            said = await http.put(
                "/api/routes/a.test", content="{}", headers={"content-type": other}
            )
            assert said.status_code == 415
        said = await http.put("/api/routes/a.test", json={"id": "x" * MAX_BODY})
        assert said.status_code == 413
        assert (await http.patch("/api/routes/a.test", json=good)).status_code == 404
        assert (await http.post("/api/routes/a.test", json=good)).status_code == 405
        assert (await http.get("/api/routes")).json() == {"routes": {}, "next": None}


async def test_who_may_write(tmp_path: Path, valkey: RedisServer) -> None:
    place, body = "/api/routes/a.test", {"backends": [DEAD], "options": {"basicAuth": USER}}
    async with served(tmp_path, valkey.url, workers=1) as (_, http):
        made = await http.put(place, json=body)
        assert (made.status_code, made.json()["options"]) == (201, body["options"])
        async with valkey.client as redis:
            [(_, record)] = await redis.xrevrange("hipache:journal", count=1)
        assert json.loads(record["change"])["by"] == "admin token from 127.0.0.1"
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            told = await http.request(method, place, headers={"authorization": "Bearer x"})
            assert told.status_code == 401
    (tmp_path / "reads").mkdir()
    async with observed(tmp_path / "reads", valkey.url, workers=1) as (_, admin):
        shown = await admin.json(place)
        assert shown["options"] == {"basicAuth": "alice:***"}
        for method in ("PUT", "PATCH", "DELETE"):
            told = await admin.http.request(method, place, json=body)
            assert (told.status_code, told.json()["where"]) == (403, "method")
    with pytest.raises(ConfigError, match=r"admin\.token: expected one, since admin\.write"):
        parse(json.dumps({"admin": {"write": True}}))


async def test_of_two_that_change_it_at_once_one_hears_of_it(
    tmp_path: Path, valkey: RedisServer
) -> None:
    place = "/api/routes/a.test"
    async with served(tmp_path, valkey.url) as (_, http):
        first = {"if-none-match": "*"}
        tries = [http.put(place, json={"backends": [DEAD]}, headers=first) for _ in range(8)]
        statuses = sorted([each.status_code for each in await asyncio.gather(*tries)])
        assert statuses == [201, *[412] * 7]
        seen = await http.get(place)
        tries = [
            http.patch(place, json={"id": f"{each}"}, headers={"if-match": seen.headers["etag"]})
            for each in range(8)
        ]
        statuses = sorted([each.status_code for each in await asyncio.gather(*tries)])
        assert statuses == [200, *[412] * 7]


async def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    async with served(tmp_path, f"redis://127.0.0.1:{free_port()}", workers=1) as (_, http):
        for told in (
            await http.get("/api/routes"),
            await http.put("/api/routes/a.test?wait=1", json={"backends": [DEAD]}),
        ):
            assert (told.status_code, told.json()["where"]) == (503, "store")


def test_a_merge_patch_makes_and_removes() -> None:
    """The cases of RFC 7396 that concern objects."""
    assert merged({"a": "b"}, {"a": {"b": None, "c": 1}}) == {"a": {"c": 1}}
    assert merged({"a": {"b": 1}}, {"a": None, "c": [None]}) == {"c": [None]}
    assert parse_body(b'{"a": {"b": 1}}') == {"a": {"b": 1}}
