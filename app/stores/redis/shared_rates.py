"""One count of a client's requests for all proxies, by Redis's own clock.

At most one round trip runs at a time. Requests that come meanwhile share the next
one, so none waits for more than two. When Redis is slow or away, the callers go by
their own counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
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

SPAN = 0.5
"""Seconds over which the demand of all workers is counted."""
AHEAD_AT_MOST = 0.1
"""Seconds of a rate that may be handed out before they come free."""

# app.frontends.rates.take once more, in a place where it happens at once; for several requests,
# after some that were taken before are given back. Those who tell their demand get their part of
# what is free, and of what comes free in the next `coming` seconds. A count that is further ahead
# than any burst is of a clock that stood later: it keeps nobody out for longer than the rate does.
# The demand is in the same value: in a cluster a second key could be on another server.
# The answer: how many pass, and how early one more is.
COUNT = f"""
local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local want, back = tonumber(ARGV[3]), tonumber(ARGV[4])
local due, seen, at = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) ?(%S*) ?(%S*)$')
due, seen, at = tonumber(due) or 0, tonumber(seen) or 0, math.min(tonumber(at) or 0, now)
local kept = due
due = math.min(due, now + tolerance + interval + {AHEAD_AT_MOST})
local changed = back > 0 or due < kept
due = math.max(due - back * interval, now)
local free = (now + tolerance - due + 1e-6) / interval + 1
local granted = math.max(math.min(want, math.floor(free)), 0)
if ARGV[5] then
  local came, a_second, coming = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  seen, at, changed = seen * math.exp((at - now) / {SPAN}) + came, now, true
  if want > free then
    local part = math.min(a_second * {SPAN} / math.max(seen, 1e-3), 1)
    granted = math.max(math.min(part * (free + coming / interval), want), 0)
  end
end
due = due + granted * interval
if granted > 0 or changed then
  local lasts = math.max(due - now, at + {SPAN * 10} - now, 0.001)
  local value = string.format('%.6f %.3f %.6f', due, seen, at)
  redis.call('SET', KEYS[1], value, 'PX', math.ceil(lasts * 1000))
end
return string.format('%.6f %.6f', granted, math.max(due - tolerance - now, 0))
"""
"""The script, behind a line that says what time is `now`."""
_TAKE = f"""
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
{COUNT}"""
_SHA = sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Question:
    """What a worker asks for one client."""

    want: int = 1
    """Requests that would pass."""
    back: float = 0.0
    """Requests that passed before, and were not used."""
    came: int = 0
    """Requests since the last question."""
    a_second: float = 0.0
    """How many the worker expects in a second; 0 asks for whole requests and for no part."""
    coming: float = 0.0
    """Seconds: what comes free in them is handed out too."""


ONE = Question()
PendingCount = tuple[str, Rate, Question, "asyncio.Future[tuple[float, float] | None]"]


class RedisRates:
    """The counts of all clients, over the connections that write."""

    def __init__(self, connections: StoreLink, prefix: str, *, within: float) -> None:
        """`within`: seconds that Redis has for an answer."""
        self._connections = connections
        self._prefix = prefix
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
        answer = await self.ask(name, rate, ONE)
        if answer is None:
            return None
        granted, early = answer
        return 0.0 if granted else early

    async def ask(self, name: str, rate: Rate, question: Question) -> tuple[float, float] | None:
        """How many of the wanted requests pass, and by how many seconds one more is too early.

        A part of a rate may be a fraction of a request. None where nobody answered in time.
        """
        answer: asyncio.Future[tuple[float, float] | None]
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((name, rate, question, answer))
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

    async def _ask(self, batch: Sequence[PendingCount]) -> list[tuple[float, float] | None]:
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

    def _command(self, how: str, pending: PendingCount) -> list[str]:
        name, rate, asked, _ = pending
        script = _SHA if how == "EVALSHA" else _TAKE
        return [how, script, "1", self._prefix + key_of(name, rate), *arguments(rate, asked)]

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


def key_of(name: str, rate: Rate) -> str:
    """Where a client is counted: by this rate alone.

    Workers that have not heard yet of an edited limit go by the old one. In a common count the
    faster one would give back what the slower one has counted.

    >>> key_of("a.test:192.0.2.7", Rate(0.01, 100))
    'hipache:rate:a.test:192.0.2.7@0.01x100'
    """
    return f"{RATE}{name}@{rate.interval:g}x{rate.burst}"


def arguments(rate: Rate, asked: Question) -> list[str]:
    """What COUNT is told."""
    numbers: list[float] = [rate.interval, rate.tolerance, asked.want, asked.back]
    if asked.a_second:
        numbers += asked.came, asked.a_second, asked.coming
    return [*map(repr, numbers)]


def _granted(answer: Any) -> tuple[float, float] | None:
    if isinstance(answer, ResponseError):
        return None
    granted, early = answer.split()
    return float(granted), float(early)
