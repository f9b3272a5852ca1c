"""Two proxies of two workers each on one Redis: what one of them learns, all of them know."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from app.checks.shards import shard_of
from app.stores.redis.check_leases import LEASES
from tests.backend_process import BackendProcess, backend_process
from tests.backends import Conversation, answer, answering, refusing, scripted
from tests.processes import Service, command, write_config
from tests.redis_servers import RedisServer, until
from tests.whole_proxy import clients_of

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"


@asynccontextmanager
async def fleet(
    folder: Path,
    valkey: RedisServer,
    health_check: dict[str, object] | None = None,
    **server: object,
) -> AsyncIterator[list[Service]]:
    async with AsyncExitStack() as stack:
        services = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            path = write_config(folder / name, valkey.url, workers=2, **server)
            values = json.loads(path.read_text()) | {"healthCheck": health_check}
            path.write_text(json.dumps(values))
            serve = command("app.cli", "serve", cwd=folder / name)
            services.append(await stack.enter_async_context(serve))
        for service in services:
            await service.ready(2)
        yield services


async def holds(question) -> None:
    """Wait until an awaitable question about Redis is answered with yes."""
    async with asyncio.timeout(20):
        while not await question():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def post(service: Service) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(POST)
    reply = await reader.read()
    writer.close()
    return reply


async def read_log(service: Service) -> list[str]:
    """End the service; all that it has logged."""
    service.signal(signal.SIGTERM)
    await service.ended()
    return service.log


async def test_a_backend_killed_under_load_costs_no_request(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """And it is tried again once per worker and trial, until it is back."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(valkey.client)
        backends = [await stack.enter_async_context(backend_process()) for _ in range(3)]
        victim, urls = backends[0], [backend.url for backend in backends]
        await redis.rpush("frontend:a.test", "id", *urls)
        services = await stack.enter_async_context(fleet(tmp_path, valkey, deadBackendTTL=1))
        replies = await under_load(services, victim, redis)
        await victim.kill()
        replies += [await post(service) for _ in range(20) for service in services]
        assert {reply[9:12] for reply in replies} == {b"200"}
        logs = [line for service in services for line in await read_log(service)]
    deaths = [line for line in logs if "backend dead" in line]
    assert 1 <= len([line for line in deaths if "ttl=1s" in line]) <= 8  # it died twice
    assert 1 <= len([line for line in deaths if "ttl=2s" in line]) <= 4
    assert any("backend alive" in line for line in logs)


async def under_load(services: list[Service], victim: BackendProcess, redis) -> list[bytes]:
    """What eight clients are answered while a backend dies, is tried, and comes back.

    Half of them POST. What it has of those when it dies it may have acted on:
    these alone do not count.
    """
    dead, over = asyncio.Event(), asyncio.Event()
    replies: list[bytes] = []

    async def client(ask: Callable[[Service], Awaitable[bytes]], service: Service) -> None:
        while not over.is_set():
            counts = ask is not post or dead.is_set()
            reply = await ask(service)
            if counts or reply[9:12] == b"200":
                replies.append(reply)

    async with asyncio.TaskGroup() as clients:
        for number in range(8):
            ask = post if number < 4 else Service.ask
            clients.create_task(client(ask, services[number % 2]))
        await until(lambda: len(replies) > 50)
        await victim.kill()
        dead.set()
        await holds(lambda: failures(redis, 2))  # the first trial came and failed
        await victim.start()
        await holds(lambda: failures(redis, None))
        over.set()
    return replies


async def failures(redis, expected: int | None) -> bool:
    """Is there one mark of so many failures in a row? None: is there no mark?"""
    entries = [json.loads(entry)["failures"] for entry in await redis.hvals("dead-info:a.test")]
    return entries == ([expected] if expected else [])


async def test_a_mark_is_seen_by_every_worker_of_both_proxies(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """All of them have the route in memory when one of them finds a backend sick."""
    rounds, late, answers = 8, 0, [answer(b"well")]

    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            await conversation.send(answers[-1])

    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(valkey.client)
        well = await stack.enter_async_context(answering(answer(b"well")))
        sick = await stack.enter_async_context(scripted(script))
        services = await stack.enter_async_context(fleet(tmp_path, valkey))
        clients = [client for service in services for client in await clients_of(service)]
        for number in range(rounds):
            host = f"a{number}.test"
            await redis.rpush(f"frontend:{host}", "id", well.url, sick.url)
            for client in clients:
                assert await client.get(host) == b"well"
            answers.append(answer(status=b"502 Bad Gateway"))
            first, *others = clients[number % 4 :] + clients[: number % 4]
            while not await redis.exists(f"dead-info:{host}"):
                await first.get(host)
            asked = len(sick.requests)
            for other in others * 10:
                await other.get(host)
            late += len(sick.requests) - asked
            answers.append(answer(b"well"))
        for client in clients:
            client.close()
    assert late <= rounds  # of the 24 that would have to find it out themselves


async def test_old_readers_and_hchecker_live_with_us(tmp_path: Path, valkey: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(valkey.client)
        alive = await stack.enter_async_context(answering(answer()))
        dead = await stack.enter_async_context(refusing())
        await redis.rpush("frontend:a.test", "id", alive.url, dead)
        await redis.set("hchecker_ping", int(time.time()))
        services = await stack.enter_async_context(fleet(tmp_path, valkey))
        channel = await stack.enter_async_context(redis.pubsub())
        await channel.subscribe("dead")
        assert (await channel.get_message(timeout=5))["type"] == "subscribe"

        # While hchecker pings, we announce and it decides.
        assert await announced(services, channel) == f"a.test;{dead};1;2"
        assert await redis.keys("dead*") == []
        await redis.sadd("dead:a.test", 1)
        # Each worker is told a moment later, and may try and announce it until then.
        await holds(lambda: left_alone(services, channel))
        again = [await left_alone(services, channel) for _ in range(5)]
        assert all(again), "somebody still tried it"

        # It ends, and we mark as Hipache did.
        await redis.delete("hchecker_ping", "dead:a.test")
        await holds(lambda: asked(services[0], lambda: redis.exists("dead-info:a.test")))
        assert 20 < await redis.ttl("dead:a.test") <= 30
        # An old Hipache's MULTI before each request.
        read = redis.pipeline(transaction=True)
        read.lrange("frontend:a.test", 0, -1)
        read.smembers("dead:a.test")
        rows, ids = await read.execute()
        assert [url for n, url in enumerate(rows[1:]) if str(n) not in ids] == [alive.url]


async def announced(services: list[Service], channel) -> str:
    """Ask until somebody failed; what was published then."""
    message = None
    while message is None:
        for service in services:
            assert b" 200 " in await service.ask()
        message = await channel.get_message(timeout=0.01)
    return message["data"]


async def left_alone(services: list[Service], channel) -> bool:
    """Do twenty requests find a live backend at once, and is nothing else left to be read?"""
    replies = [await service.ask() for _ in range(10) for service in services]
    assert {reply[9:12] for reply in replies} == {b"200"}
    messages = 0
    while await channel.get_message(timeout=0.05) is not None:
        messages += 1
    return not messages


async def asked(service: Service, question) -> bool:
    """The answer to a question about Redis after one more request."""
    assert b" 200 " in await service.ask()
    return bool(await question())


async def test_checks_go_on_when_their_holder_is_killed(
    tmp_path: Path, valkey: RedisServer
) -> None:
    quick = {"path": "/up", "interval": 0.2, "timeout": 1}
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(valkey.client)
        one, two = [await stack.enter_async_context(answering(answer())) for _ in range(2)]
        await redis.rpush("frontend:a.test", "id", one.url, two.url)
        services = await stack.enter_async_context(fleet(tmp_path, valkey, quick))
        for whole_proxy in (False, True):
            seen = len(one.requests)
            await one.until(lambda b, seen=seen: len(b.requests) > seen)
            holder = await holder_of(redis, "a.test")
            killed = kill(services, int(holder.split(":")[-2]), whole_proxy)
            await holds(lambda holder=holder: moved(redis, holder))
            seen = len(one.requests)
            await one.until(lambda b, seen=seen: len(b.requests) > seen)
            assert time.monotonic() - killed < 5


def kill(services: list[Service], pid: int, whole_proxy: bool) -> float:
    """kill -9 this worker, or all of its proxy; says when."""
    for service in services:
        if service.process.returncode is None and pid in (workers := service.workers()):
            for number in [service.pid, *workers] if whole_proxy else [pid]:
                os.kill(number, signal.SIGKILL)
    return time.monotonic()


async def moved(redis, holder: str) -> bool:
    return await holder_of(redis, "a.test") not in (holder, "")


async def holder_of(redis, key: str) -> str:
    """The worker that checks this frontend; empty while nobody does."""
    return str(await redis.hget(LEASES, shard_of(key))).partition(" ")[2]
