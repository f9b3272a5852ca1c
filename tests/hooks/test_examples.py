"""Every example of docs/hooks.md, in a running proxy."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from pathlib import Path

from tests.backends import answer, answering
from tests.hooks.modules import EXAMPLES, Write, loaded
from tests.ports import free_port
from tests.redis_servers import RedisServer, until
from tests.serving import Proxy, proxying


def test_there_are_ten() -> None:
    assert len(EXAMPLES) == 10


async def ask(proxy: Proxy, *fields: bytes, target: bytes = b"/", host: bytes = b"a.test") -> bytes:
    """The answer to a GET with these fields, and the connection's close."""
    lines = [b"GET %b HTTP/1.1" % target, b"Host: " + host, *fields, b"Connection: close"]
    return await proxy.talk(b"\r\n".join(lines) + b"\r\n\r\n")


def token(key: bytes, **claims: object) -> bytes:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(b'{"alg": "HS256"}') + b"." + part(json.dumps(claims).encode())
    return signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))


async def test_jwt(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["Let in those with a valid JWT"])
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        later, key = time.time() + 60, b"change me"
        good = b"Authorization: Bearer " + token(key, sub="eve", exp=later)
        reply = await ask(proxy, good, b"X-User: root", b"X_User: root")
        assert reply.endswith(b"in")
        assert [v for n, v in there.requests[0].headers if n.lower() in (b"x-user", b"x_user")] == [
            b"eve"
        ]
        for bad in (
            token(b"another", sub="eve", exp=later),
            token(key, sub="eve", exp=1),
            token(key, exp=later),
            b"a.b.c",
            b"",
        ):
            reply = await ask(proxy, b"Authorization: Bearer " + bad)
            assert reply.startswith(b"HTTP/1.1 401 "), bad
            assert b"www-authenticate: Bearer\r\n" in reply
        assert len(there.requests) == 1


async def test_countries(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["Block countries"])
    async with (
        answering(answer(b"in")) as there,
        proxying(valkey, hooks=name, trustedProxies=["127.0.0.1"]) as proxy,
    ):
        await proxy.route("a.test", there)
        assert (await ask(proxy)).endswith(b"in")
        assert there.requests[0].get(b"x-country") == b"local"
        reply = await ask(proxy, b"X-Forwarded-For: 198.51.100.7")
        assert reply.startswith(b"HTTP/1.1 451 ")


async def test_fields(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["Edit fields"])
    said = answer(b"in", b"Server: secret/1", b"X-Powered-By: wheels", b"X-Kept: yes")
    async with answering(said) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        reply = await ask(proxy, b"X-Internal: 1", b"X-Edge: liar")
        assert b"secret" not in reply
        assert b"wheels" not in reply
        assert b"x-content-type-options: nosniff\r\n" in reply
        assert b"X-Kept: yes" in reply or b"x-kept: yes" in reply
        [request] = there.requests
        assert (request.get(b"x-internal"), request.get(b"x-edge")) == (None, b"frankfurt")


async def test_a_new_version(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["Try a new version with some visitors"])
    async with (
        answering(answer(b"old")) as old,
        answering(answer(b"new")) as new,
        proxying(valkey, hooks=name) as proxy,
    ):
        loaded(name).NEW = new.url
        await proxy.route("a.test", old, new)
        for version in (b"old", b"new"):
            loaded(name).SHARE = float(version == b"new")
            reply = await ask(proxy)
            assert b"set-cookie: version=%b; Path=/\r\n" % version in reply
            assert reply.endswith(version)
        for version in (b"old", b"new") * 3:
            reply = await ask(proxy, b"Cookie: version=" + version)
            assert reply.endswith(version)
            assert b"set-cookie" not in reply


async def test_one_name(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["One name for a site"])
    async with proxying(valkey, hooks=name) as proxy:
        reply = await ask(proxy, target=b"/a?b=%2F", host=b"Example.com:80")
        assert reply.startswith(b"HTTP/1.1 308 ")
        assert b"location: http://www.example.com/a?b=%2F\r\n" in reply


async def test_bots(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["A wall against bots"])
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        assert (await ask(proxy, b"User-Agent: Firefox")).endswith(b"in")
        assert (await ask(proxy)).startswith(b"HTTP/1.1 403 ")
        assert (await ask(proxy, b"User-Agent: MyCrawler/2")).startswith(b"HTTP/1.1 403 ")
        assert b"Disallow: /\n" in await ask(proxy, target=b"/robots.txt")
        assert len(there.requests) == 1


async def test_quota(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["A quota for each tenant"])
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        module = loaded(name)
        module.PER_MINUTE, module.minute = 1, int(time.time() // 60)
        assert (await ask(proxy, b"X-Tenant: one")).endswith(b"in")
        assert (await ask(proxy, b"X-Tenant: two")).endswith(b"in")
        module.counts["one"] = module.counts["two"] = 10  # if a minute has just begun, too
        module.minute = int(time.time() // 60)
        reply = await ask(proxy, b"X-Tenant: one")
        assert reply.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 60\r\n" in reply


async def test_audit(valkey: RedisServer, write_hooks: Write, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    code = EXAMPLES["An audit log by way of a queue"]
    name = write_hooks(code.replace("/var/log/hipache/audit.log", str(file)))
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        await ask(proxy, target=b"/paid?card=1")
        await until(lambda: file.exists() and file.read_text().endswith("\n"))
        line = json.loads(file.read_text())
        assert line.pop("id")
        assert line == {
            "client": "127.0.0.1", "host": "a.test", "method": "GET", "path": "/paid",
            "status": 200,
        }  # fmt: skip


async def test_wake(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["Wake a container"])
    started: list[asyncio.Server] = []

    async def shop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the hook has only looked whether it is there
            pass
        else:
            writer.write(answer(b"open"))
        writer.close()

    port = free_port()

    async def start(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started.append(await asyncio.start_server(shop, "127.0.0.1", port))
        writer.close()

    docker = await asyncio.start_server(start, "127.0.0.1", 0)
    asked = docker.sockets[0].getsockname()[1]
    async with docker, proxying(valkey, hooks=name) as proxy:
        ring = f"import socket; socket.create_connection(('127.0.0.1', {asked})).recv(1)"
        loaded(name).START = [sys.executable, "-S", "-c", ring]
        await proxy.route("shop.example.com", f"http://127.0.0.1:{port}")
        replies = await asyncio.gather(*(ask(proxy, host=b"shop.example.com") for _ in range(3)))
        assert [reply[-4:] for reply in replies] == [b"open"] * 3
        assert len(started) == 1
        for server in started:
            server.close()


async def test_own_stickiness(valkey: RedisServer, write_hooks: Write) -> None:
    name = write_hooks(EXAMPLES["Stickiness of your own"])
    async with (
        answering(answer(b"1")) as one,
        answering(answer(b"2")) as two,
        answering(answer(b"3")) as three,
        proxying(valkey, hooks=name) as proxy,
    ):
        await proxy.route("a.test", one, two, three)
        seen = set()
        for customer in range(6):
            replies = {(await ask(proxy, b"X-Customer: %d" % customer))[-1:] for _ in range(3)}
            assert len(replies) == 1
            seen |= replies
        assert len(seen) > 1
