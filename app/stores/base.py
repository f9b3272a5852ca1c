"""What the proxy asks of a store, and what a store reports to the cache in front of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..errors import StoreUnavailable
from ..frontends.rates import Rate
from ..routing import NO_MARKS, Backend, Frontend, Mark, Marks
from .questions import Questions
from .uses import UseRecords

FOREIGN = "foreign"
"""A mark is `by` this name if another program set it."""
HISTORY = 3600
"""Seconds that a lapsed mark is kept: it tells how often in a row the backend failed."""


class StoreForbids(StoreUnavailable):
    """The store answers, but we may not send it such a command, perhaps never."""


class StoreInTrouble(StoreUnavailable):
    """The store answers that it cannot serve now: it is loading, or has lost its primary."""


class Found(NamedTuple):
    """A store's answer for one host: the first frontend that matched."""

    frontend: Frontend
    marks: Marks = NO_MARKS
    """Marks under the frontend's key: all its hosts share them."""
    host_marks: Marks = NO_MARKS
    """Marks found under the requested host: an old Hipache writes them there when a wildcard
    matched (hipache.md 1.10, point 10)."""


class Checked(NamedTuple):
    """A frontend that an active checker looks after."""

    frontend: Frontend
    raw: Mapping[str, str]
    """The hash `healthcheck:<host>`; empty where the configuration alone asks for checks."""


class Pings(NamedTuple):
    """Which active checkers have shown a sign of life lately."""

    foreign: bool = False
    ours: bool = False


class ShardLeases(NamedTuple):
    """The shards of the frontends that one active checker looks after for some time."""

    now: float
    """Unix seconds by the store's clock."""
    renewed: Mapping[int, float]
    """For each shard up to when all of it was checked before, in Unix seconds by that clock."""
    counted: bool = True
    """False where as many others check as there are shards, so that there is none for this one."""


class CheckRecords(Protocol):
    """What active checkers share. Every method raises StoreUnavailable, and nothing else."""

    async def listed(self, ours: Callable[[str], bool], *, every: bool) -> list[Checked]:
        """Frontends that have a `healthcheck:<host>`, or `every` one; of these `ours`, by key."""

    async def marked(self, keys: Sequence[str]) -> set[str]:
        """Those of these frontends' keys that have marks."""

    async def hold(
        self, holder: str, seconds: float, shards: int, undone: Mapping[int, float]
    ) -> ShardLeases:
        """Keep or take a fair share of so many shards, for `seconds` from now.

        A shard has one holder at a time. A holder that does not come again in time loses its own.
        `undone`: up to when all was checked in those that it has not caught up with, in Unix
        seconds by the store's clock; the next holder is told.
        """

    async def release(self, holder: str) -> None:
        """Give the shards of `holder` back."""

    async def ping(self) -> None:
        """Say that an active checker is alive, unless a foreign one says so already."""

    async def pings(self) -> Pings:
        """Who said so lately."""


class Leases(Protocol):
    """What at most one of those that share the store may do at a time."""

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Take the lease of that name, or keep it, for `seconds` from now.

        False while another holder has it. Raises StoreUnavailable.
        """

    async def claim(self, name: str, seconds: float) -> bool:
        """Take that name for `seconds`, for nobody to keep: also who takes it cannot again.

        False while it is taken. Raises StoreUnavailable.
        """


class SharedRates(Protocol):
    """How often clients have come, for all proxies that share the store."""

    @property
    def away(self) -> bool:
        """Whether it is of no use to ask now."""

    def known(self, name: str, rate: Rate) -> float | None:
        """What `take` would say, where that is known without asking; then it is taken."""

    async def take(self, name: str, rate: Rate) -> float | None:
        """Seconds by which this request of `name` is too early, and 0.0 where it may pass;
        None where the store did not say in time. Never raises."""


class StoreListener(Protocol):
    """Hears from `Store.watch` what happens to the store. No method waits or raises."""

    def tracking(self) -> None:
        """From now on every change is reported; what was read before may be old."""

    def partly_tracking(self, unseen: Callable[[str], bool]) -> None:
        """From now on changes are reported, but not those of the frontends' keys for which
        `unseen` is true: a part of the store is away."""

    def lost(self, reason: str) -> None:
        """Changes are no longer reported. The store may still answer reads. An empty `reason`: it
        is nothing to tell, since they will be again in a moment."""

    def unreachable(self, reason: str) -> None:
        """The store does not answer."""

    def heard(self) -> None:
        """The store gave a sign of life."""

    def refused(self, reason: str) -> None:
        """The store answers, but never reports changes."""

    def frontend_changed(self, key: str) -> None:
        """The list, the options or the prefixes of `key` were written, created or removed."""

    def paths_changed(self, key: str) -> None:
        """The prefixes of a host's key, and nothing else of it."""

    def marks_changed(self, key: str) -> None:
        """Marks under `key`, a frontend's key or a requested host, were written."""

    def everything_changed(self) -> None:
        """The store was emptied or replaced."""


class Store(Protocol):
    """Where frontends live. Every method that reads or writes raises StoreUnavailable, at the
    latest after `server.storeTimeout`, and nothing else."""

    name: str
    """For the log: the driver's URL without secrets."""
    shares_marks: bool
    """False: `write_mark` and `erase_mark` do nothing, marks live in each worker."""

    @property
    def rates(self) -> SharedRates | None:
        """None where every worker counts for itself."""

    @property
    def checks(self) -> CheckRecords | None:
        """For active checkers; None where nothing is checked."""

    @property
    def leases(self) -> Leases | None:
        """None where every worker is for itself."""

    @property
    def uses(self) -> UseRecords | None:
        """When frontends were last used; None where nobody notes it."""

    @property
    def questions(self) -> Questions | None:
        """What operators ask all workers; None where each machine is asked by itself."""

    async def lookup(self, host: str) -> Found | None:
        """The frontend that serves `host`, or None when no candidate key exists.

        Its `site` names the prefixes of its key. A store that names some is asked for each by its
        key, as in `www.example.com/api`, when a request needs it.
        """

    async def marks(self, frontend: Frontend) -> Marks:
        """The marks under this frontend's key, as they are now."""

    async def write_mark(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, shared_until: float
    ) -> None:
        """Store and publish a mark. `shared_until` (Unix seconds): when the last of this
        frontend's marks lapses, for readers who know one expiry for all."""

    async def erase_mark(self, frontend: Frontend, backend: Backend) -> None:
        """Forget the mark and its history."""

    async def announce(self, frontend: Frontend, backend: Backend) -> None:
        """Tell other programs that a backend failed, without marking it."""

    async def marked_keys(self) -> list[str]:
        """Keys that have marks, frontends' or requested hosts'. For an operator, not for a request:
        it may read the whole store."""

    async def watch(self, listener: StoreListener) -> None:
        """Report to `listener` until cancelled; connects and connects again by itself."""

    async def aclose(self) -> None:
        """Release connections and files."""
