"""Questions to all workers, and what keeps them small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.config.store_address import StoreAddress
from app.stores.cache.cached_store import CachedStore
from app.stores.questions import Answerer
from app.stores.redis.questions import (
    ANSWERS,
    MAX_ANSWER,
    MAX_QUESTION,
    MAX_WAITING,
    QUESTION,
    RedisInquiry,
)
from app.stores.redis.store import RedisStore
from app.stores.redis.url import parse_url
from tests.redis_servers import RedisServer, until


@asynccontextmanager
async def worker(server: RedisServer, answerer: Answerer | None) -> AsyncIterator[CachedStore]:
    """Knows what changes, and shows up."""
    routes = CachedStore(RedisStore([parse_url(StoreAddress(server.url))], timeout=10.0))
    if answerer is not None:
        assert routes.questions is not None
        routes.questions.answer_with(answerer)
    await routes.start()
    async with server.client as redis:
        while not await redis.keys("hipache:worker:*"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    yield routes
    await routes.aclose()


@pytest.fixture
async def inquiry(valkey: RedisServer) -> AsyncIterator[RedisInquiry]:
    asking = RedisInquiry([parse_url(StoreAddress(valkey.url))], timeout=10.0)
    yield asking
    await asking.aclose()


async def test_every_worker_is_asked(valkey: RedisServer, inquiry: RedisInquiry) -> None:
    async def answer(question: str) -> str:
        return f"{question}? yes"

    async with worker(valkey, answer), worker(valkey, answer), worker(valkey, None):
        replies = await inquiry.ask("you", seconds=20.0)
    assert (replies.texts, replies.silent) == (["you? yes"] * 2, 0)
    assert replies.answered == 3


async def test_what_is_too_long_is_not_taken(valkey: RedisServer, inquiry: RedisInquiry) -> None:
    heard: list[int] = []

    async def answer(question: str) -> str:
        heard.append(len(question))
        return "x" * (MAX_ANSWER + 1)

    async with worker(valkey, answer), valkey.client as redis:
        await redis.set(f"{QUESTION}long", "x" * (MAX_QUESTION + 1), ex=10)
        replies = await inquiry.ask("short", seconds=20.0)
        assert (replies.texts, replies.answered) == ([], 1)
        assert heard == [5]
        assert await redis.exists(f"{ANSWERS}long") == 0


async def test_a_flood_of_questions_is_cut(valkey: RedisServer) -> None:
    heard: list[str] = []
    go = asyncio.Event()

    async def answer(question: str) -> str:
        heard.append(question)
        await go.wait()
        return ""

    async with worker(valkey, answer) as routes, valkey.client as redis:
        await redis.set(f"{QUESTION}first", "first", ex=10)
        await until(lambda: heard)
        async with asyncio.timeout(20):
            pushes = routes.numbers.pushes
            for number in range(5 * MAX_WAITING):
                await redis.set(f"{QUESTION}{number}", "more", ex=10)
            await redis.rpush("frontend:a.test", "id", "http://127.0.0.1:1")
            await until(lambda: routes.numbers.pushes > pushes)  # reported after all of them
            go.set()
            await redis.set(f"{QUESTION}last", "last", ex=10)
            while not await redis.exists(f"{ANSWERS}0"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert len(heard) <= MAX_WAITING + 1
