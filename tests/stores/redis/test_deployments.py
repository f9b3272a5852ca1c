"""Redis as real deployments run it: users with few rights, TLS, a replica to read from."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from app.checks import fleet
from app.checks.fleet import checking
from app.config.structs import Config, HealthCheck, LruCache, ServerConfig
from app.errors import FrontendNotFound
from app.frontends.rates import Rate
from app.routing import Mark
from app.stores import CachedStore, driver_for, open_store
from app.stores.issuance import IssuanceState, Wish
from app.stores.redis.check_leases import LEASES
from app.system import resolver as system_resolver
from tests import resolver
from tests.backends import answer, answering, refusing
from tests.redis_servers import REDIS, RedisServer, until

DOCUMENT = (Path(__file__).parents[3] / "docs" / "stores.md").read_text("utf-8")
[LINES] = re.findall(r"ACL SETUSER hipache on >password (.*?)\n\n", DOCUMENT, re.S)
RIGHTS = " ".join(LINES.split())


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = await RedisServer(tmp_path).start()
    async with server.client as redis:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
    yield server
    server.kill()


@asynccontextmanager
async def store(*driver: str, ttl: float = 1.0) -> AsyncIterator[CachedStore]:
    config = Config(
        driver=driver, server=ServerConfig(snapshot=None, lru_cache=LruCache(size=10, ttl=ttl))
    )
    store = open_store(config)
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


async def marked(store: CachedStore) -> None:
    """Mark a backend, and wait until the store has it."""
    route = await store.find("a.example")
    store.mark_dead(route.frontend, route.frontend.backends[0], Mark(2e9, 1e9, "refused", "me"))
    await store._local.flush(2)


async def grant(server: RedisServer, rights: str) -> str:
    async with server.client as redis:
        await redis.execute_command("ACL", "SETUSER", "proxy", "on", ">pw", *rights.split())
    return f"redis://proxy:pw@127.0.0.1:{server.port}"


async def test_the_rights_that_certificates_need_are_enough(server):
    """Those on docs/acme.md, beside the others."""
    page = (Path(__file__).parents[3] / "docs" / "acme.md").read_text("utf-8")
    [more] = re.findall(r"^    (\+hmget .*)$", page, re.M)
    url, pair = await grant(server, f"{RIGHTS} {more}"), ("a certificate", "a key")
    found = driver_for((url,)).issuance("", timeout=5)
    assert await found.hold("one", 60)
    assert await found.hold("one", 60)
    await found.keep_account("one", "https://127.0.0.1/", "account", first=True)
    await found.put_challenge("token", "answer", 60)
    assert await found.challenge("token") == "answer"
    await found.drop_challenge("token")
    assert await found.wish("a.example", Wish.CLIENT)
    assert await found.wishes()
    await found.refuse_below_wildcards(0.001)
    assert (await found.begin("one", "a.example", "", 50)).begun
    assert await found.fail("one", "a.example", IssuanceState(error="no"))
    assert await found.finish("one", "a.example", "", pair, "mark")
    assert [name async for name, _ in found.standing()] == ["a.example"]
    assert await found.states() == {}
    assert (await found.progress("a.example")).there
    assert (await found.progress_of(["a.example"]))["a.example"].there
    assert await found.remove("a.example")
    await found.release("one")
    await found.aclose()
    async with server.client as redis:
        assert await redis.acl_log() == []


async def test_the_rights_in_the_documentation_are_enough(server, caplog):
    url = await grant(server, RIGHTS)
    async with store(url) as routes, server.client as redis:
        assert routes._reads.tracked
        await marked(routes)
        assert await redis.smembers("dead:a.example") == {"0"}
        await until(lambda: routes.known("a.example"))
        for rate in (Rate(0.01, 100), Rate(1200.0, 3)):
            assert await routes.rates.take("a.example:10.0.0.1", rate) == 0.0
        assert await redis.acl_log() == []
    assert caplog.records == []


async def test_they_are_enough_for_active_checks_and_to_notice_those_of_others(server):
    url = await grant(server, RIGHTS)
    check = HealthCheck(path="/", interval=0.1)
    config = Config(driver=(url,), health_check=check)
    async with answering(answer()) as well, refusing() as dead, server.client as redis:
        await redis.rpush("frontend:b.example", "id", well.url, dead)
        await redis.hset("healthcheck:b.example", "path", "/up")
        await redis.set("hchecker_ping", int(time.time()))
        async with store(url) as routes, checking(config, routes, name="us:1") as checkers:
            assert checkers.foreign
            await redis.delete("hchecker_ping")
            async with asyncio.timeout(10):
                while not await redis.hexists("dead-info:b.example", dead):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert {request.line[1] for request in well.requests} == {b"/up"}
        assert not any("us:1" in v for v in await redis.hvals(LEASES))  # given back
        assert await redis.acl_log() == []


async def test_rights_that_checks_lack_are_named_once(server, caplog, monkeypatch):
    monkeypatch.setattr(fleet, "BEAT", 0.01)
    url = await grant(server, RIGHTS.replace("+mget ", "").replace("+eval ", ""))
    config = Config(driver=(url,), health_check=HealthCheck(path="/", interval=0.1))
    async with (
        store(url) as routes,
        server.client as redis,
        checking(config, routes, name="us:1"),
        asyncio.timeout(10),
    ):
        while sum(entry["count"] for entry in await redis.acl_log()) < 10:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert [message.partition(" cause=")[0] for message in caplog.messages] == [
        "to notice other checkers not allowed",
        "active checks not allowed",
    ]
    assert "permissions" in caplog.text


async def test_without_tracking_routes_are_believed_for_their_ttl(server, caplog):
    url = await grant(server, RIGHTS.replace("+client|tracking ", ""))
    async with store(url, ttl=0.05) as routes, server.client as redis:
        assert [r.getMessage().partition(" store=")[0] for r in caplog.records] == [
            "store does not tell changes"
        ]
        await routes.find("a.example")
        assert routes.known("a.example")
        await redis.delete("frontend:a.example")
        await until(lambda: routes.known("a.example") is None)
        with pytest.raises(FrontendNotFound):
            await routes.find("a.example")
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:2")
        await until(lambda: not routes._memory.is_absent("a.example"))
        assert await routes.find("a.example")


async def test_a_redis_older_than_6_is_believed_for_the_ttl_and_that_is_said_once(tmp_path, caplog):
    """As such a one it does not know HELLO."""
    old = RedisServer(tmp_path, "--rename-command", "HELLO", "unknown")
    old.protocol = 2
    await old.start()
    async with old.client as redis, store(old.url, ttl=0.05) as routes:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
        assert (await routes.find("a.example")).frontend.size == 1
        assert routes.known("a.example")
        await redis.rpush("frontend:a.example", "http://127.0.0.1:2")
        await until(lambda: routes.known("a.example") is None)
        assert (await routes.find("a.example")).frontend.size == 2
    [said] = caplog.messages
    assert said.startswith("store does not tell changes store=")
    assert "a change is seen after 0.05 s" in said
    old.kill()


async def test_a_wrong_password_is_an_outage_that_is_said_once_without_it(server, caplog):
    async with server.client as redis:
        await redis.config_set("requirepass", "another")
    async with store(f"redis://:s3cret@127.0.0.1:{server.port}") as routes:
        assert routes.away
    assert "s3cret" not in caplog.text
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


async def test_marks_go_to_the_primary_and_routes_come_from_the_replica(server, tmp_path):
    (tmp_path / "replica").mkdir()
    replica = RedisServer(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}")
    await replica.start()
    async with replica.client as redis:
        while not await redis.exists("frontend:a.example"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with store(replica.url, server.url) as routes, server.client as primary:
            await marked(routes)
            assert await primary.exists("dead:a.example", "dead-info:a.example") == 2
            await until(lambda: routes.known("a.example"))
            await primary.rpush("frontend:a.example", "http://127.0.0.1:2")
            await until(lambda: routes.known("a.example") is None)
            assert (await routes.find("a.example")).frontend.size == 2
    replica.kill()


async def test_a_store_with_a_name_is_found_again_while_the_resolver_is_silent(server, monkeypatch):
    def look_up(host: str) -> list[str]:
        if len(names) == 1:
            return ["127.0.0.1"]
        raise socket.gaierror(socket.EAI_AGAIN, "not now")

    monkeypatch.setattr(system_resolver, "FRESH", 0.0)
    names = resolver.answering(monkeypatch, look_up)
    async with store(f"redis://redis.test:{server.port}") as routes:
        assert await routes.find("a.example")
        async with server.client as redis:
            await redis.client_kill_filter(_type="normal")
            await redis.rpush("frontend:b.example", "id", "http://127.0.0.1:1")
        assert await routes.find("b.example")
    assert names[0] == "redis.test"
    assert len(names) > 1


@pytest.mark.skipif(REDIS is None, reason="the bundled Valkey is built without TLS")
async def test_tls_with_a_client_certificate(tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1", "redis.test").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "server.pem"
    )
    pem = str(tmp_path / "server.pem")
    secure = RedisServer(tmp_path)
    server = RedisServer(
        tmp_path, "--tls-port", str(secure.port), "--tls-cert-file", pem, "--tls-key-file", pem,
        "--tls-ca-cert-file", str(tmp_path / "ca.pem"), binary=REDIS,
    )  # fmt: skip
    await server.start()
    async with server.client as redis:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
    url = f"rediss://127.0.0.1:{secure.port}"
    files = f"cafile={tmp_path}/ca.pem&certfile={pem}&keyfile={pem}"
    async with store(f"{url}?{files}") as routes:
        assert routes._reads.tracked
        assert await routes.find("a.example")
    async with store(f"{url}?certfile={pem}&keyfile={pem}") as distrustful:
        assert distrustful.away
    resolver.answering(monkeypatch, lambda host: ["127.0.0.1"])
    for name, trusted in (("redis.test", True), ("other.test", False)):
        async with store(f"rediss://{name}:{secure.port}?{files}") as routes:
            assert routes.away is not trusted
    server.kill()
