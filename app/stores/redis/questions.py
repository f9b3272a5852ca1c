"""Questions to all workers, over the pushes that each of them gets anyway.

hipache:question:<id>   string: the question, with an expiry
hipache:answers:<id>    hash: an answer for each worker, with the same expiry

Nothing is written before somebody asks, and no connection is opened for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import uuid4

from redis.exceptions import RedisError

from ...errors import StoreUnavailable
from ...system.background import Background
from ..questions import Answerer, Replies
from ..unavailable import translated
from .check_records import Bounded
from .connections import StoreLink
from .links import connect
from .presence import workers_present
from .replies import text
from .url import RedisURL

logger = logging.getLogger(__name__)

QUESTION, ANSWERS = "hipache:question:", "hipache:answers:"
LASTS = 10
"""Seconds after which a question and its answers are gone, whatever has become of the asker."""
MAX_QUESTION, MAX_ANSWER = 2_000, 64_000
"""Characters. A longer question is none of ours; a longer answer is not given."""
MAX_WAITING = 8
"""Questions that wait in one worker: who may write to the store cannot keep it busy with more."""
LOOK_EVERY = 0.02
"""Seconds between two looks of the asker: nothing tells it."""


async def _nothing(question: str) -> str:
    return ""


class RedisQuestions:
    """questions.Questions of one worker. One without an answerer says that it has nothing."""

    def __init__(self, reading: StoreLink, writing: StoreLink, prefix: str, bounded: Bounded):
        self._reading, self._writing = reading.client, writing.client
        self._prefix, self._bounded = prefix, bounded
        self._name = uuid4().hex
        self._answerer: Answerer = _nothing
        self._background = Background(lambda reason: None)
        self._turn = asyncio.Lock()
        self._waiting = 0

    def answer_with(self, answerer: Answerer) -> None:
        """Answer from now on."""
        self._answerer = answerer

    def changed(self, number: str) -> None:
        """This question was put, or is gone."""
        if self._waiting < MAX_WAITING:
            self._waiting += 1
            self._background.spawn(self._reply(number), "store question")

    async def _reply(self, number: str) -> None:
        try:
            async with self._turn:
                await self._reply_in_turn(number)
        except StoreUnavailable as exc:
            logger.info("question not answered cause=%s", exc)
        finally:
            self._waiting -= 1

    async def _reply_in_turn(self, number: str) -> None:
        asked = await self._bounded(lambda: self._reading.get(f"{self._prefix}{QUESTION}{number}"))
        if not asked or len(asked) > MAX_QUESTION:
            return
        answer = await self._answerer(text(asked))
        if len(answer) > MAX_ANSWER:
            answer = ""
        answers = f"{self._prefix}{ANSWERS}{number}"
        pipe = self._writing.pipeline(transaction=True)
        pipe.hset(answers, self._name, answer)
        pipe.expire(answers, LASTS)
        await self._bounded(pipe.execute)

    async def aclose(self) -> None:
        """Answer no more."""
        await self._background.aclose()


class RedisInquiry:
    """questions.Inquiry, on the server that takes the writes."""

    def __init__(self, urls: Sequence[RedisURL], *, timeout: float | None) -> None:
        """`timeout`: seconds for each answer of the server."""
        first, last = urls[0], urls[-1]
        primary = replace(last, database=first.database, prefix=first.prefix)
        self._translated = partial(translated, last.name, RedisError)
        self._prefix = first.prefix
        self._connections = connect(primary, timeout=timeout)

    async def ask(self, question: str, *, seconds: float) -> Replies:
        """A look at all keys tells how many workers there are to answer."""
        client, number = self._connections.client, uuid4().hex
        asked, answers = f"{self._prefix}{QUESTION}{number}", f"{self._prefix}{ANSWERS}{number}"
        loop = asyncio.get_running_loop()
        with self._translated():
            await client.set(asked, question, ex=LASTS)
            deadline = loop.time() + seconds
            present = len(await workers_present(client, self._prefix))
            while await client.hlen(answers) < present and loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY)
            found = await client.hgetall(answers)
            await client.delete(asked, answers)
        texts = [text(value) for value in found.values() if value]
        return Replies(texts, len(found), max(0, present - len(found)))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()
