"""What requests showed of backends lately, and whether it is enough to mark one. Pure.

A request that fails may be the fault of its backend, of the request, of its client, or of
the application behind every backend. So a single failure proves nothing. A backend is found
sick when

- most of what it was asked lately failed, for most of its clients,
- with different requests (method and path), from different clients,
- and the other backends do clearly better.

The others are compared by the same requests, down to the query. If they got too few of these,
what they did for the same clients counts, and where many clients fail, all that they did. A
frontend that has one client only (a CI job), or one path only (GraphQL), has nothing that
differs; neither has a comparison of different requests between few clients much weight. There
it takes more failures, and no success among them; so it does where only backups are left, which
get no requests to compare with.

The comparison is Envoy's outlier detection: a success rate against that of the other hosts
(`success_rate_stdev_factor`).

Nothing is remembered of a frontend without a failure, so a good answer costs one look into a
dict; with one it costs 0.4 us, and 3 us once in SPACING. No client has more than PER_CLIENT
requests in a tally: a flood of them does not count for more than the few of others.
"""

from __future__ import annotations

from collections.abc import Collection

from .grounds import FEWEST_GOOD, Grounds
from .samples import Sample, Tally

AGE = 300.0
"""Seconds that a sample counts."""

FEWEST = 5
"""Failures that a backend must have."""

MORE = 10
"""Failures that it must have, without a success, where little differs."""

MORE_SECONDS = 0.5
"""From the first of these to the last: a short burst may hide that there are other clients."""

MANY_CLIENTS = 4
"""When this many fail, requests that have nothing in common can be compared."""

MAX_TALLIES = 16
"""Backends of one frontend that are remembered."""
MAX_MEMORY = 2000
"""Tallies of one worker: 10 KB each at most."""


class Window:
    """What the backends of one frontend were asked since something failed there."""

    __slots__ = ("_client", "_path", "clients_at", "failed_at", "paths_at", "tallies")

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.failed_at = self.clients_at = self.paths_at = float("-inf")
        """When something failed last; when a client, or a path, last followed another one."""
        self._client: int | None = None
        self._path: int | None = None

    def add(self, url: str, sample: Sample) -> None:
        """One more request to `url`."""
        if sample.failed:
            self.failed_at = sample.at
        if sample.client != self._client:
            self.clients_at = self.clients_at if self._client is None else sample.at
            self._client = sample.client
        if sample.path != self._path:
            self.paths_at = self.paths_at if self._path is None else sample.at
            self._path = sample.path
        tally = self.tallies.get(url)
        if tally is None and (sample.failed or len(self.tallies) < MAX_TALLIES):
            if len(self.tallies) >= MAX_TALLIES:
                good = (url for url, tally in self.tallies.items() if not tally.failures)
                del self.tallies[next(good, next(iter(self.tallies)))]
            tally = self.tallies[url] = Tally()
        if tally is not None:
            tally.add(sample)

    def grounds(
        self, url: str, marked: Collection[str], now: float, *, only_backups: bool = False
    ) -> Grounds | None:
        """What there is against `url`, if it is enough; compared with those not `marked`.

        `only_backups`: all the others are backups.
        """
        tally = self.tallies.get(url)
        if tally is None or tally.failures < FEWEST:
            return None
        since = now - AGE
        samples = list(tally.since(since))
        failures = [sample for sample in samples if sample.failed]
        if len(failures) < FEWEST or not _mostly_failed(samples):
            return None
        paths, clients = {s.path for s in failures}, {s.client for s in failures}
        if len(paths) == 1 and self.paths_at >= since:
            return None
        if len(clients) == 1 and self.clients_at >= since:
            return None
        compared, alike = self._compared(failures, clients, {url, *marked}, since)
        seconds = now - min(sample.at for sample in failures)
        if (not alike and compared) or len(paths) == 1 or len(clients) == 1:
            enough = len(failures) >= MORE and now - tally.failing_since >= MORE_SECONDS
            if not enough or len(failures) < len(samples):
                return None
        found = Grounds(
            failed=len(failures), asked=sum(sample.weight for sample in samples),
            paths=len(paths), clients=len(clients), seconds=seconds,
            others_failed=sum(sample.failed for sample in compared),
            others_asked=sum(sample.weight for sample in compared),
        )  # fmt: skip
        if found.is_worse:
            return found
        # Nobody to compare with: backups get no requests before this one is out.
        sure = len(clients) >= MANY_CLIENTS and MORE <= len(failures) == len(samples)
        return found if only_backups and sure and not compared else None

    def _compared(
        self, failures: Collection[Sample], clients: set[int], without: set[str], since: float
    ) -> tuple[Collection[Sample], bool]:
        """What others were asked that is most like `failures`, and whether it is alike enough."""
        everything = [
            sample
            for url, tally in self.tallies.items()
            if url not in without
            for sample in tally.since(since)
        ]
        targets = {sample.target for sample in failures}
        same = [sample for sample in everything if sample.target in targets]
        if len(same) >= FEWEST_GOOD:
            return same, True
        many = len(clients) >= MANY_CLIENTS
        of_same_clients = [sample for sample in everything if sample.client in clients]
        if len(of_same_clients) >= FEWEST_GOOD:
            return of_same_clients, many
        return (everything if many else ()), many


def _mostly_failed(samples: Collection[Sample]) -> bool:
    """Whether more than half of the requests failed, for more than half of the clients."""
    balances: dict[int, int] = {}
    for sample in samples:
        counts = 1 if sample.failed else -sample.weight
        balances[sample.client] = balances.get(sample.client, 0) + counts
    failing = sum(balance > 0 for balance in balances.values())
    return sum(balances.values()) > 0 and 2 * failing > len(balances)


class Evidence:
    """The windows of all frontends of one worker where something failed lately."""

    __slots__ = ("_size", "windows")

    def __init__(self) -> None:
        self.windows: dict[str, Window] = {}
        """By the frontend's key, the one where something failed last at the end."""
        self._size = 0

    def answered(self, key: str, url: str, sample: Sample) -> None:
        """A good answer; the frontend must have a window."""
        window = self.windows[key]
        if window.failed_at < sample.at - AGE:
            self._drop(key)
        else:
            self._add(window, url, sample)

    def failed(
        self,
        key: str,
        url: str,
        sample: Sample,
        marked: Collection[str],
        *,
        only_backups: bool = False,
    ) -> Grounds | None:
        """A failure; the grounds for a mark if there are enough now.

        `marked`: URLs of the frontend that `url` is not compared with; `only_backups`: the rest
        of them are backups.
        """
        window = self.windows.get(key)
        if window is not None and window.failed_at < sample.at - AGE:
            self._drop(key)
            window = None
        self.windows.pop(key, None)
        window = self.windows[key] = window or Window()
        self._add(window, url, sample)
        return window.grounds(url, marked, sample.at, only_backups=only_backups)

    def take_back(self, key: str, url: str, client: int, target: int) -> None:
        """What counted as a good answer was none: its body broke off."""
        window = self.windows.get(key)
        tally = window.tallies.get(url) if window is not None else None
        if tally is not None:
            tally.take_back(client, target)

    def forget(self, key: str, url: str) -> None:
        """Begin anew with a backend that was marked."""
        window = self.windows.get(key)
        if window is not None and window.tallies.pop(url, None) is not None:
            self._size -= 1
            if not window.tallies:
                del self.windows[key]

    def _add(self, window: Window, url: str, sample: Sample) -> None:
        before = len(window.tallies)
        window.add(url, sample)
        self._size += len(window.tallies) - before
        while self._size > MAX_MEMORY:
            self._drop(next(iter(self.windows)))

    def _drop(self, key: str) -> None:
        self._size -= len(self.windows.pop(key).tallies)
