"""Decides who has a tracking connection: one worker for all, or for a while each for itself."""

from __future__ import annotations

import asyncio
import logging
import random
from math import inf
from pathlib import Path
from time import monotonic
from typing import Protocol

from ..tracking import ASK_AGAIN, Tracker
from .following import Following
from .listening_seat import ListeningSeat
from .news_teller import NewsTeller
from .tracking_news import STATES, NewsKind, NewsWriter, TrackingEars, TrackingNews

logger = logging.getLogger(__name__)

BEAT_EVERY = 1.0
"""Seconds between the listening worker's signs of life while Redis gives none."""
HAND_OVER_AFTER = 2.0
"""Seconds without tracking after which the listening worker lets another try."""
ALONE_FOR = 3.0
"""Seconds, and up to twice as many, until a worker for itself tries again to share. It forgets all
that it knows when it does, so the workers of a proxy come one after the other."""
FOLLOWED_WELL, MOST_SHORT = 1.0, 4
"""Seconds; so many connections in a row to listening workers that last less are no way to go on."""
TRIES, BETWEEN_TRIES = 20, 0.01
"""How often a follower tries to connect, and after how many seconds: one that has just taken the
seat needs a moment."""


class TrackerMaker(Protocol):
    """Makes a Tracker that is heard by `ears`."""

    def __call__(self, ears: TrackingEars, /) -> Tracker: ...


class SharedTracker:
    """What a Tracker does, for a worker that has siblings. The package says how."""

    def __init__(self, path: Path, make: TrackerMaker, ears: TrackingEars) -> None:
        """`path` names the seat: the same for all who hear the same, in a folder of their own."""
        self._path, self._make, self._ears = path, make, ears
        self._own: asyncio.Task[None] | None = None
        self._tracker: Tracker | None = None
        self._writer: NewsWriter | None = None
        self._teller: NewsTeller | None = None
        self._state: TrackingNews | None = None
        """What the own tracking connection, or else the listening worker, has said last."""
        self._landmark: TrackingNews | None = None
        self._told_away = False
        """The listening worker has said that Redis is away, and not yet that it tracks."""
        self._heard_at = 0.0
        self._warned = False
        self._short = 0
        self._dumb_since = inf
        """Since when the own tracking connection tells nothing."""
        self._stays_until = 0.0
        """Others were let try a moment ago, and were refused as we were."""

    def look(self) -> None:
        """Read the landmark again; the listening worker does so by itself, and tells it."""
        if self._tracker is not None:
            self._tracker.look()

    async def run(self) -> None:
        """Track until cancelled."""
        try:
            seat = ListeningSeat(self._path)
        except OSError as exc:
            self._cannot_share(exc)
            self._tracker = self._make(self._ears)
            await self._tracker.run()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    try:
                        share = self._lead if seat.take() else self._follow
                    except OSError as exc:  # the kernel has no room for a lock
                        self._cannot_share(exc)
                        await self._alone(tasks)
                    else:
                        await share(seat, tasks)
        finally:
            seat.close()

    async def _lead(self, seat: ListeningSeat, tasks: asyncio.TaskGroup) -> None:
        teller = NewsTeller(self._news_for_new, self._as_of)
        try:
            await teller.open(seat.opened())
            self._teller = teller
            self._track(tasks)
            while not (teller.followers and self._hands_over()):
                await asyncio.sleep(BEAT_EVERY)
                teller.beat()
            self._stays_until = monotonic() + ASK_AGAIN if self._refused else 0.0
        except OSError as exc:
            self._cannot_share(exc)
        finally:
            self._teller = None
            teller.close()
            seat.give_back()
        await self._alone(tasks)

    @property
    def _refused(self) -> bool:
        return self._state is not None and self._state.kind is NewsKind.REFUSED

    def _hands_over(self) -> bool:
        """Connections that are closed may be our own trouble, as where too many are open."""
        stays = self._refused and self._stays_until > monotonic()
        return self._dumb_since + HAND_OVER_AFTER < monotonic() and not stays

    def _cannot_share(self, error: OSError) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        logger.log(level, "this worker hears of changes for itself cause=%s", error)

    async def _follow(self, seat: ListeningSeat, tasks: asyncio.TaskGroup) -> None:
        following, began = await self._connected(seat.address), monotonic()
        if following is None:
            await self._alone(tasks)
            return
        try:
            await following.begun.wait()
            # If we still track ourselves, the other one does not: there is nothing to gain.
            reason = await following.ended if self._own is None else ""
        finally:
            following.close()
        self._leave(reason)
        self._short = self._short + 1 if began + FOLLOWED_WELL > monotonic() else 0
        if self._own is not None or following.silent or self._short >= MOST_SHORT:
            self._short = 0
            await self._alone(tasks)

    async def _connected(self, address: str) -> Following | None:
        loop = asyncio.get_running_loop()
        for _ in range(TRIES):
            try:
                _, following = await loop.create_unix_connection(self._following, address)
                return following
            except OSError as exc:
                logger.debug("no listening worker yet cause=%s", exc)
            await asyncio.sleep(BETWEEN_TRIES * random.uniform(0.5, 1.5))
        return None

    def _following(self) -> Following:
        return Following(self._hear_told, self._hear_frame)

    async def _alone(self, tasks: asyncio.TaskGroup) -> None:
        self._track(tasks)
        await asyncio.sleep(ALONE_FOR * random.uniform(1, 2))

    # The own tracking connection

    def _track(self, tasks: asyncio.TaskGroup) -> None:
        if self._own is None:
            self._state = self._landmark = None
            self._dumb_since = monotonic()
            writer = self._writer = NewsWriter(self._hear_own)
            ears = TrackingEars(writer, writer.keys, writer.landmark)
            self._tracker = self._make(ears)
            self._own = tasks.create_task(self._tracker.run(), name="store tracking")

    def _stop_tracking(self) -> None:
        if self._own is not None and self._writer is not None:
            self._writer.out = _nobody_hears  # it may take a moment to end
            self._own.cancel()
            self._own = self._tracker = self._writer = None

    def _hear_own(self, news: TrackingNews) -> None:
        self._note(news)
        self._ears.hear(news)
        if self._teller is not None:
            self._teller.tell(news)

    def _note(self, news: TrackingNews) -> None:
        if news.kind is NewsKind.LANDMARK:
            self._landmark = news
        elif news.kind in STATES:
            self._state = news
            if news.kind is not NewsKind.TRACKING:
                self._landmark = None  # nothing is reported from here on
            if news.kind is NewsKind.TRACKING or (self._refused and self._all_hear_that):
                self._dumb_since = inf
            else:
                self._dumb_since = min(self._dumb_since, monotonic())
        if news.kind not in (NewsKind.LOST, NewsKind.UNREACHABLE):
            self._heard_at = monotonic()

    @property
    def _all_hear_that(self) -> bool:
        return self._tracker is not None and self._tracker.said_no

    @property
    def _tracks(self) -> bool:
        return self._state is not None and self._state.kind is NewsKind.TRACKING

    def _as_of(self) -> float:
        return self._heard_at if self._tracks else monotonic()

    def _news_for_new(self) -> list[TrackingNews]:
        return [news for news in (self._state, self._landmark) if news is not None]

    # The listening worker

    def _hear_told(self, news: TrackingNews) -> None:
        if self._own is not None:
            if news.kind is not NewsKind.TRACKING:
                return
            self._stop_tracking()
        if news.kind is NewsKind.UNREACHABLE and self._told_away:
            return  # it may be the listening worker's own trouble: our requests find out
        self._told_away = news.kind is NewsKind.UNREACHABLE or (
            self._told_away and news.kind is not NewsKind.TRACKING
        )
        self._note(news)
        self._ears.hear(news)

    def _hear_frame(self) -> None:
        if self._own is None and self._tracks:
            self._ears.listener.heard()

    def _leave(self, reason: str) -> None:
        if self._own is None:
            was_told, self._state = self._tracks, None
            if was_told:
                self._ears.listener.lost(reason)


def _nobody_hears(news: TrackingNews) -> None:
    pass
