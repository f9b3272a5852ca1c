"""Checks every backend that is due, spread in time, until it is cancelled."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from contextlib import suppress
from itertools import count

from ..config.structs import HealthCheck
from ..errors import UpstreamBusy, UpstreamError, UpstreamExhausted, UpstreamUnresolved
from ..fields.headers import RawHeaders
from ..frontends.backends import HTTP2
from ..grpc.health_calls import FIELDS, MAX_ANSWER, PATH, check_call, problem_with_call
from ..health import can_lose_one
from ..stores.base import Checked, CheckRecords
from ..upstream.client import UpstreamClient, body_of
from ..upstream.own_requests import host_for, own_request
from .reports import CheckReports
from .shards import Shards, shard_of
from .verdicts import MAX_SEARCHED, Target, parse_probe, problem_with

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 100
LIST_EVERY = 2.0
"""Seconds between two listings of the frontends to check, if a listing is quick."""
LIST_SHARE = 0.02
"""The share of the time that listing may take, however many keys the store has."""
PING_EVERY = 10.0  # as hchecker
TICK = 0.1
"""Seconds by which a check may be late."""
AT_ONCE = 10
"""Checks that begin in one turn of the event loop: less than a millisecond of it."""


class Rounds:
    """The backends under check and when each is due. A worker that gets shards makes a new one."""

    def __init__(
        self,
        config: HealthCheck,
        records: CheckRecords,
        client: UpstreamClient,
        reports: CheckReports,
        shards: Shards,
    ) -> None:
        self._shards = shards
        self._config = config
        self._records = records
        self._client = client
        self._reports = reports
        self._targets: dict[tuple[str, str], Target] = {}
        self._due: list[tuple[float, int, Target, bool]] = []
        """Each backend's next check, and one more of what was left undone."""
        self._numbers = count()  # so that the heap never compares targets
        self._marked: set[str] = set()

    async def run(self) -> None:
        """Check until cancelled. Raises an ExceptionGroup of StoreUnavailable."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._list_for_ever(), name="checks: list")
            tasks.create_task(self._look_for_marks(), name="checks: marks")
            tasks.create_task(self._ping_for_ever(), name="checks: ping")
            tasks.create_task(self._run_due(tasks), name="checks: schedule")

    async def _list_for_ever(self) -> None:
        while True:
            started = time.monotonic()
            self._shards.gained.clear()
            await self._list(self._shards.held)
            took = time.monotonic() - started
            with suppress(TimeoutError):
                async with asyncio.timeout(max(LIST_EVERY, took / LIST_SHARE)):
                    await self._shards.gained.wait()

    async def _list(self, held: frozenset[int]) -> None:
        known = {key for key, _ in self._targets}
        every = self._config.path is not None
        self._update_targets(
            await self._records.listed(lambda key: shard_of(key) in held, every=every)
        )
        self._shards.caught_up(held)
        if new := {key for key, _ in self._targets} - known:
            # A mark that the last holder renewed must not lapse before our next look.
            self._marked = self._marked | await self._records.marked([*new])

    async def _ping_for_ever(self) -> None:
        while True:
            if self._targets:
                await self._records.ping()
            await asyncio.sleep(PING_EVERY if self._targets else TICK)

    async def _look_for_marks(self) -> None:
        while True:
            asked = {key for key, _ in self._targets}
            found = await self._records.marked([*asked])
            self._marked = found | (self._marked & {key for key, _ in self._targets} - asked)
            await asyncio.sleep(self._config.interval / 2 if self._targets else TICK)

    def _update_targets(self, listed: list[Checked]) -> None:
        """Check these and no others; a target that stays keeps its history."""
        before, self._targets = self._targets, {}
        for frontend, raw in listed:
            if not can_lose_one(frontend):
                continue
            probe, problems = parse_probe(raw, self._config)
            for problem in problems:
                logger.warning("healthcheck unusable frontend=%s cause=%s", frontend.key, problem)
            for backend in frontend.backends:
                key = frontend.key, backend.url
                target = before.get(key)
                if target is None or target.probe != probe:
                    rise, fall = self._config.rise, self._config.fall
                    target = Target(frontend, backend, probe, rise=rise, fall=fall)
                    self._begin(target)
                target.frontend, target.backend = frontend, backend
                self._targets[key] = target

    def _begin(self, target: Target) -> None:
        ahead, undone = self._shards.moments(
            target.frontend.key, target.backend.url, self._config.interval
        )
        now = time.monotonic()
        self._schedule(target, now + ahead, again=True)
        if undone is not None:
            self._schedule(target, now + undone, again=False)

    def _schedule(self, target: Target, due: float, *, again: bool) -> None:
        heapq.heappush(self._due, (due, next(self._numbers), target, again))

    async def _run_due(self, tasks: asyncio.TaskGroup) -> None:
        slots, begun = asyncio.Semaphore(MAX_CONCURRENT), 0

        async def ask(target: Target) -> None:
            try:
                await self._check(target)
            finally:
                target.busy = False
                slots.release()

        while True:
            now = time.monotonic()
            if not self._due or self._due[0][0] > now:
                # At the next whole tick, for many at once: each waking of the loop costs as much
                # as a check.
                await asyncio.sleep(TICK - now % TICK)
                continue
            due, _, target, again = heapq.heappop(self._due)
            if self._targets.get((target.frontend.key, target.backend.url)) is not target:
                continue  # removed since, or checked by another probe now
            if again:
                late = (time.monotonic() - due) // self._config.interval
                self._schedule(target, due + (late + 1) * self._config.interval, again=True)
            if not target.busy and self._shards.has(target.frontend.key):
                await slots.acquire()
                target.busy = True
                tasks.create_task(ask(target), name=f"check {target.backend.url}")
                begun += 1
                if begun % AT_ONCE == 0:
                    await asyncio.sleep(0)  # requests have their turn

    async def _check(self, target: Target) -> None:
        asked = time.time()
        try:
            async with asyncio.timeout(self._config.timeout):
                problem = await problem_of(self._client, target)
        except TimeoutError:
            problem = f"no answer in {self._config.timeout:g} s"
        except (
            UpstreamBusy,
            UpstreamExhausted,
            UpstreamUnresolved,
        ):  # our fault, not the backend's
            return
        except UpstreamError as exc:
            problem = str(exc)
        marked = target.frontend.key in self._marked
        if not self._shards.has(target.frontend.key):
            return  # another worker judges it now
        if problem is None:
            target.passed(asked)
            if marked:
                await self._reports.healthy(target)
            return
        target.failed()
        if target.unhealthy or (marked and target.never_passed):
            self._marked.add(target.frontend.key)
            await self._reports.unhealthy(target, problem)


async def problem_of(client: UpstreamClient, target: Target) -> str | None:
    """Ask a backend; what is wrong with its answer, or None. Raises UpstreamError."""
    probe, backend = target.probe, target.backend
    if probe.service is not None and backend.scheme in HTTP2:
        return await _call(client, target, probe.service)
    headers: RawHeaders = [
        (b"host", host_for(target.frontend, backend)),
        (b"user-agent", b"hipache-health-check"),
        (b"accept", b"*/*"),
        (b"connection", b"close"),
    ]
    if backend.scheme in HTTP2:
        answer = await own_request(client, backend, probe.method, probe.path, fields=headers)
    else:
        answer = await client.ask_alone(backend, probe.method, probe.path, headers)
    try:
        body = b""
        if probe.body:
            async for chunk in answer:
                body += chunk
                if len(body) >= MAX_SEARCHED:
                    break
        return problem_with(probe, answer.status, body[:MAX_SEARCHED])
    finally:
        await answer.aclose()


async def _call(client: UpstreamClient, target: Target, service: str) -> str | None:
    """Ask as gRPC's clients do."""
    backend = target.backend
    headers = [(b"host", host_for(target.frontend, backend)), *FIELDS]
    answer = await own_request(
        client, backend, b"POST", PATH, fields=headers, body=check_call(service)
    )
    try:
        body = await body_of(answer, MAX_ANSWER)
        return problem_with_call(answer.status, [*answer.headers, *answer.trailers], body)
    finally:
        await answer.aclose()
