"""One count of a client's requests for all proxies, by Redis's own clock.

At most one round trip runs at a time. Requests that come meanwhile share the next
one, so none waits for more than two. When Redis is slow or away, the callers go by
their own counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from hashlib import sha1
from math import inf
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError

from ...frontends.rates import Rate
from .cluster.parts import ShardAway
from .connections import StoreLink

logger = logging.getLogger(__name__)

RATE = "hipache:rate:"
PER_TRIP = 500
"""Clients that one round trip asks about."""
PAUSE_AFTER_SILENCE = 1.0
"""Seconds in which a store that gave no answer in time is not asked again."""
WARN_EVERY = 60.0

# app.frontends.rates.take once more, in a place where it happens at once; for several requests,
# after some that were taken before are given back. The answer: how many pass, and how early one
# more is.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local want, back = tonumber(ARGV[3]), tonumber(ARGV[4])
local due = math.max((tonumber(redis.call('GET', KEYS[1])) or 0) - back * interval, now)
local free = math.floor((now + tolerance - due + 1e-6) / interval) + 1
local granted = math.max(math.min(want, free), 0)
due = due + granted * interval
if granted + back > 0 then
  local lasts = math.max(math.ceil((due - now) * 1000), 1)
  redis.call('SET', KEYS[1], string.format('%.6f', due), 'PX', lasts)
end
return granted .. ' ' .. string.format('%.6f', math.max(due - tolerance - now, 0))
"""
_SHA = sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()

PendingCount = tuple[str, Rate, int, int, "asyncio.Future[tuple[int, float] | None]"]


class RedisRates:
    """The counts of all clients, over the connections that write."""

    def __init__(self, connections: StoreLink, prefix: str, *, within: float) -> None:
        """`within`: seconds that Redis has for an answer."""
        self._connections = connections
        self._prefix = prefix + RATE
        self._within = within
        self._waiting: list[PendingCount] = []
        self._asked: list[PendingCount] = []
        self._asking: asyncio.Task[None] | None = None
        self._away_until = -inf
        self._said = -inf

    @property
    def away(self) -> bool:
        """Whether it gave no answer a moment ago."""
        return self._away_until > -inf and asyncio.get_running_loop().time() < self._away_until

    async def take(self, name: str, rate: Rate) -> float | None:
        """Seconds by which this request is too early; None where nobody answered in time."""
        answer = await self.ask(name, rate, 1)
        if answer is None:
            return None
        granted, early = answer
        return 0.0 if granted else early

    async def ask(
        self, name: str, rate: Rate, want: int, back: int = 0
    ) -> tuple[int, float] | None:
        """How many of the wanted requests pass, and by how many seconds one more is too early.

        `back` of those that passed before were not used. None where nobody answered in time.
        """
        answer: asyncio.Future[tuple[int, float] | None]
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((name, rate, want, back, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_on(), name="store rates")
        return await answer

    async def _ask_on(self) -> None:
        try:
            while self._waiting:
                self._asked, self._waiting = (
                    self._waiting[:PER_TRIP],
                    self._waiting[PER_TRIP:],
                )
                answers = await self._ask(self._asked)
                for (*_, answer), found in zip(self._asked, answers, strict=True):
                    if not answer.done():
                        answer.set_result(found)
                if self.away:
                    break
        finally:
            self._send_away()

    def _send_away(self) -> None:
        """Tell all who wait that no answer will come."""
        for *_, answer in (*self._asked, *self._waiting):
            if not answer.done():
                answer.set_result(None)
        self._asked, self._waiting = [], []
        self._asking = None

    async def _ask(self, batch: Sequence[PendingCount]) -> list[tuple[int, float] | None]:
        try:
            async with asyncio.timeout(self._within):
                answers = await self._connections.ask([self._command("EVALSHA", q) for q in batch])
                # A server of a cluster may not know the script yet; others have counted already.
                new = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                if new:
                    commands = [self._command("EVAL", batch[n]) for n in new]
                    for n, answer in zip(new, await self._connections.ask(commands), strict=True):
                        answers[n] = answer
        except (TimeoutError, RedisError, OSError) as exc:
            self._failed(f"no answer in {self._within:g} s" if type(exc) is TimeoutError else exc)
            return [None] * len(batch)
        errors = [answer for answer in answers if isinstance(answer, ResponseError)]
        # One part of a cluster that is away does not keep the others from counting.
        if errors and (len(errors) == len(answers) or not isinstance(errors[0], ShardAway)):
            self._failed(errors[0])
        return [_granted(answer) for answer in answers]

    def _command(self, how: str, question: PendingCount) -> list[str]:
        name, rate, want, back, _ = question
        script = _SHA if how == "EVALSHA" else _TAKE
        numbers = [repr(rate.interval), repr(rate.tolerance), str(want), str(back)]
        return [how, script, "1", self._prefix + name, *numbers]

    def _failed(self, cause: object) -> None:
        now = asyncio.get_running_loop().time()
        self._away_until = now + PAUSE_AFTER_SILENCE
        if now >= self._said + WARN_EVERY:
            self._said = now
            logger.warning("rates counted by each worker alone cause=%s", cause)

    async def aclose(self) -> None:
        """Answer all who still wait."""
        if self._asking is not None:
            asking = self._asking
            asking.cancel()
            await asyncio.wait({asking})
            self._send_away()  # it may have been cancelled before it began


def _granted(answer: Any) -> tuple[int, float] | None:
    if isinstance(answer, ResponseError):
        return None
    granted, early = answer.split()
    return int(granted), float(early)
