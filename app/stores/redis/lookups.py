"""What a request needs of Redis: a host's list, its prefixes, its options and its marks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ...frontends.site import host_of, inherited
from ...routing import Frontend, Marks, lookup_keys, with_options
from ..base import Found
from .clock import StoreClock
from .connections import StoreLink
from .keys import DEAD, DEAD_INFO, FRONTEND, OPTIONS, PATHS, KeyNames
from .replies import LAST_ROW, frontend_of, marks_of, options_of, prefixes_of, rows_of_list

logger = logging.getLogger(__name__)

Command = tuple[str, ...]
BoundedAnswers = Callable[[Callable[[], Awaitable[list[Any]]]], Awaitable[list[Any]]]
"""Runs commands within the store's timeout; raises StoreUnavailable and nothing else."""


class Lookups:
    """Reads frontends from one server."""

    def __init__(
        self,
        reading: StoreLink,
        names: KeyNames,
        bounded: BoundedAnswers,
        clock: StoreClock,
        longest_mark: float,
    ) -> None:
        """`longest_mark` (seconds): how long a mark is believed that does not say what it was
        meant for."""
        self._reading = reading
        self._names = names
        self._bounded = bounded
        self._clock = clock
        self._longest_mark = longest_mark
        self._told = False

    async def lookup(self, name: str) -> Found | None:
        """The frontend of a host, or of a prefix that is named by its key.

        One round trip for an exact match; a wildcard's own marks and options take a second.
        """
        if "/" in name:
            return await self._lookup_prefix(name)
        candidates = lookup_keys(name)
        commands = [self._list_of(key) for key in candidates]
        commands += [("SMEMBERS", self._names.of(PATHS, key)) for key in candidates]
        answers = await self._ask(commands + self._details_of(name))
        count = len(candidates)
        lists, paths, details = answers[:count], answers[count : 2 * count], answers[2 * count :]
        for key, rows, members in zip(candidates, lists, paths, strict=True):
            if not (rows or members):
                continue
            prefixes = self._prefixes_of(key, members)
            if not (rows or prefixes):
                continue
            if key == name:
                frontend = frontend_of(key, rows, options_of(key, details[3]), prefixes)
                return Found(frontend, await self._marks_of(frontend, details))
            frontend = frontend_of(key, rows, {}, prefixes)
            host_marks = await self._marks_of(frontend, details)
            options, marks = await self._details(frontend)
            return Found(with_options(frontend, options), marks, host_marks)
        return None

    async def _lookup_prefix(self, key: str) -> Found | None:
        host = host_of(key)
        of_host: Command = ("HGETALL", self._names.of(OPTIONS, host))
        rows, options, *details = await self._ask(
            [self._list_of(key), of_host, *self._details_of(key)]
        )
        if not rows:
            return None
        own = options_of(key, details[3])
        urls = rows_of_list(rows)[1:]
        frontend = frontend_of(key, rows, inherited(own, options_of(host, options), urls))
        return Found(frontend, await self._marks_of(frontend, details))

    async def marks(self, frontend: Frontend) -> Marks:
        """The marks under this frontend's key, in one round trip."""
        return (await self._details(frontend))[1]

    async def _details(self, frontend: Frontend) -> tuple[Mapping[str, str], Marks]:
        answers = await self._ask(self._details_of(frontend.key))
        return options_of(frontend.key, answers[3]), await self._marks_of(frontend, answers)

    async def _marks_of(self, frontend: Frontend, details: Sequence[Any]) -> Marks:
        clock = self._clock
        if details[2] and not clock.asked:
            with suppress(RedisError):  # then the clocks count as equal
                await clock.measure()
        return marks_of(
            frontend, details, now=clock.here(), ahead=clock.ahead, longest=self._longest_mark
        )

    def _prefixes_of(self, key: str, answer: Any) -> list[str]:
        prefixes = prefixes_of(answer)
        if isinstance(answer, ResponseError) and not self._told:
            self._told = True
            logger.warning("prefixes unreadable key=%s%s cause=%s", PATHS, key, answer)
        return prefixes

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        return await self._bounded(lambda: self._reading.ask(commands))

    def _list_of(self, key: str) -> Command:
        return ("LRANGE", self._names.of(FRONTEND, key), "0", LAST_ROW)

    def _details_of(self, key: str) -> list[Command]:
        return [
            ("SMEMBERS", self._names.of(DEAD, key)),
            ("PTTL", self._names.of(DEAD, key)),
            ("HGETALL", self._names.of(DEAD_INFO, key)),
            ("HGETALL", self._names.of(OPTIONS, key)),
        ]
