"""Watches who holds the connections to one origin while others wait for one.

It looks at the connections while somebody waits, and at no other time: a request that finds a
connection costs it nothing. `shares` decides who loses a connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from ..errors import SlowClient, UpstreamError, UpstreamPreempted
from .asker import Asker, ClientOf
from .backend_stream import NEVER, BackendStream, PooledConnection
from .dialling import Origin
from .limits import PoolLimits
from .shares import REMEMBERED, Holding, Shares
from .waiting import Waiter, WaitingLine

logger = logging.getLogger(__name__)

LOOKS = 8
"""Looks within the grace of a slow client."""
PAUSE = 0.02
"""Seconds from one look to the next, at least."""
EACH = 150e-6
"""The same for each connection: to look at one takes some 3 us, so looking takes 2 % at most."""

AT_ONCE = 10
"""Connections that are taken away at one look for those who wait behind: each costs the event loop
up to half a millisecond."""


@dataclass(frozen=True, slots=True, eq=False)
class Held(Holding):
    """A connection in use, and what for."""

    stream: BackendStream
    connection: PooledConnection
    asker: Asker
    awaited: object | None

    @property
    def is_unchanged(self) -> bool:
        """Whether the client has still the stream, and has done nothing meanwhile."""
        return (
            any(receiver.asker is self.asker for receiver, _ in self.connection.in_use())
            and self.asker.awaited() == self.awaited
        )


class Contention:
    """Takes connections to one origin away from slow and greedy clients while others wait."""

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        connections: Set[PooledConnection],
        line: WaitingLine,
        *,
        client_of: ClientOf,
        serve: Callable[[], None],
    ) -> None:
        """`connections` are the open ones, `line` those who wait for one; `client_of` tells what
        counts as one client; `serve` is called when more may be served of the line."""
        self.reserve = -1
        """How many of the free connections are not for those who wait behind; -1 where all requests
        are served alike."""
        self._origin = origin
        self._connections = connections
        self._line = line
        self._grace = limits.grace
        self._client_of = client_of
        self._serve = serve
        self._most = limits.max_sockets
        self._loop = asyncio.get_running_loop()
        self._shares = Shares(limits.max_sockets, limits.grace)
        self._seen: dict[BackendStream, tuple[object, float]] = {}
        """What was awaited of its client, and since when."""
        self._spare: list[Held] = []
        """Who may lose a connection to the next that waits."""
        self._looked = self._due = -NEVER  # the last look; the next one, if somebody waits
        self._looked_at = 0  # so many connections
        self._timer: asyncio.Handle | None = None
        self._timed = NEVER  # for when: a handle of uvloop's that is due at once cannot tell

    def join(self, waiter: Waiter) -> None:
        """`waiter` begins to wait."""
        behind = bool(self._shares.behind) and self._is_behind(waiter)
        (self._line.behind if behind else self._line.front).append(waiter)
        if self._grace == NEVER or self._look_if_due(waiter.since):
            return
        if self._spare and not behind:
            self._take_spare()
        if self._timer is None or self._timed > self._due:
            self._look_at(self._due)

    def displace(self, asker: Asker | None) -> bool:
        """Make room in the full line for `asker`, if somebody waits behind it."""
        if self._grace == NEVER:
            return False
        now = self._loop.time()
        if len(self._connections) > self._looked_at:  # who holds those is not known yet
            self._look(now)
        else:
            self._look_if_due(now)
        return not self._stands_behind(asker) and self._line.displace()

    def reserved_from(self, asker: Asker | None) -> int:
        """How many connections have to be left free where `asker` gets one."""
        return self.reserve if self.reserve > 0 and self._stands_behind(asker) else 0

    def stop(self) -> None:
        """Look no more."""
        self._grace = NEVER
        if self._timer is not None:
            self._timer.cancel()

    # -- when to look

    @property
    def _pause(self) -> float:
        return max(PAUSE, EACH * len(self._connections))

    @property
    def _interval(self) -> float:
        return max(self._pause, self._grace / LOOKS)

    def _look_if_due(self, now: float) -> bool:
        if now < self._due:
            return False
        self._look(now)
        return True

    def _look_at(self, when: float) -> None:
        """Look at `when`, if not earlier."""
        if self._timer is not None:
            if self._timed <= when:
                return
            self._timer.cancel()
        self._timed, self._timer = when, self._loop.call_at(when, self._run, when)

    def _run(self, due: float) -> None:
        self._timer = None
        if not self._line and self.reserve < 0:
            return
        now = self._loop.time()
        if now - due >= self._interval:
            self._look_at(now + PAUSE)  # the loop was held up: what clients sent is still unread
        else:
            self._look(now)

    # -- looking

    def _look(self, now: float) -> None:
        self._looked, self._looked_at = now, len(self._connections)
        line, before = self._line, self._shares.behind
        held = self._held(now)
        losers = self._shares.judge(held, now)
        if self._shares.behind != before:
            line.rearrange(self._is_behind)
        patience = self._grace + self._interval  # one look more, in which the idle go first
        patient = sum(waiter.since <= now - patience for waiter in line.front)
        idle = _first(losers.idle, len(line.front) + min(len(line.behind), AT_ONCE))
        surplus = _first(losers.surplus, len(line.front) - len(idle))
        disputed = _first(losers.disputed, patient - len(idle) - len(surplus))
        self._spare = losers.surplus[len(surplus) :][::-1] + losers.idle[len(idle) :][::-1]
        self._take(idle, SlowClient, now)
        self._take([*surplus, *disputed], UpstreamPreempted, now)
        self._keep_free(held)
        soon = self._spare and line.behind
        self._due = now + (self._pause if self._shares.offenders else self._interval)
        if line or self.reserve >= 0:
            self._look_at(now + (self._pause if soon else self._interval))

    def _keep_free(self, held: list[Held]) -> None:
        """Keep as many connections for those in front as they need now, or needed lately."""
        behind = self._shares.behind
        if self._shares.offenders:
            need = len(self._line.front) + sum(each.client not in behind for each in held)
            wanted = min(2 * need + 2, self._most // 2)
            self.reserve = max(wanted, self.reserve - 1)
        else:
            self.reserve = -1
        if self._line.behind:
            self._serve()

    def _held(self, now: float) -> list[Held]:
        """All that is in use for a client."""
        before, self._seen = self._seen, {}
        held = []
        for connection in self._connections:
            for receiver, stream in connection.in_use():
                if (asker := receiver.asker) is None:
                    continue
                silent, awaited = None, asker.awaited()
                if awaited is not None:
                    token = (asker.started, awaited)
                    seen = before.get(stream)
                    if seen is None or seen[0] != token:
                        seen = token, now
                    self._seen[stream] = seen
                    silent = now - seen[1]
                client = self._client_of(asker)
                held.append(
                    Held(client, asker.started, silent, stream, connection, asker, awaited)
                )  # fmt: skip
        return held

    def _is_behind(self, waiter: Waiter) -> bool:
        return self._stands_behind(waiter.asker)

    def _stands_behind(self, asker: Asker | None) -> bool:
        behind = self._shares.behind
        return bool(behind) and asker is not None and self._client_of(asker) in behind

    # -- taking away

    def _take_spare(self) -> None:
        """Take a connection from one who could have lost it at the last look."""
        while self._spare:
            held = self._spare.pop()
            if held.is_unchanged:
                kind = SlowClient if (held.silent or 0.0) >= self._grace else UpstreamPreempted
                self._take([held], kind, self._loop.time())
                return

    def _take(self, losers: Sequence[Held], kind: type[UpstreamError], now: float) -> None:
        for held in losers:
            self._shares.remember(held, now + REMEMBERED)
        if losers:
            self._due = min(self._due, self._looked + self._pause)
            if self._line:
                self._line.rearrange(self._is_behind)
        for held in losers:
            error = kind()
            logger.warning(
                "connection taken away backend=%s://%s:%d client=%s cause=%s waiting=%d",
                *self._origin, held.client or "-", error, len(self._line),
            )  # fmt: skip
            held.asker.give_up(error)
            held.stream.fail(error)


def _first(losers: list[Held], count: int) -> list[Held]:
    return losers[: max(0, count)]
