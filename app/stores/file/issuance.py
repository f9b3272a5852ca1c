"""A folder in which the processes of one proxy get certificates, where the store holds none.

What is where in it: issuance_folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import IO

import msgspec
from watchfiles import awatch

from ..certificate_store import Pair
from ..issuance import (
    HOUR,
    IssuanceListener,
    IssuanceState,
    OrderEnd,
    OrderStart,
    Progress,
    Standing,
    Wish,
    most_wishes,
)
from ..unavailable import translated
from .issuance_folder import IssuanceFolder
from .small_files import age_of, decoded, make_folder, text_of, unexpired, write, write_until

WATCH_AGAIN = 1.0
"""Seconds until a folder that cannot be watched is tried again."""
EXPIRE_EVERY = 600.0
"""Seconds between two looks for what is over."""


class FileIssuance:
    """issuance.IssuanceStore in a folder."""

    certs: str | None

    def __init__(self, folder: str) -> None:
        """Makes what is missing when something is written."""
        self.name = f"folder {folder}"
        self._translated = partial(translated, self.name)
        self._folder = IssuanceFolder(folder)
        self.certs = str(self._folder.certs)
        self._lock: IO[str] | None = None
        self._expire_at = 0.0

    async def hold(self, holder: str, seconds: float) -> bool:
        """The kernel frees the lock when its process ends."""
        with self._translated():
            if self._lock is None and not self._locked():
                return False
            if monotonic() >= self._expire_at:
                self._expire_at = monotonic() + EXPIRE_EVERY
                self._folder.expire()
        return True

    def _locked(self) -> bool:
        make_folder(self._folder.path)
        lock = os.fdopen(os.open(self._folder.lock, os.O_CREAT | os.O_WRONLY, 0o600), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    async def release(self, holder: str = "") -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    aclose = release

    async def account(self, directory: str) -> str | None:
        """One for each directory: another CA is another account."""
        with self._translated():
            return text_of(self._folder.account(directory))

    async def keep_account(self, holder: str, directory: str, account: str, *, first: bool) -> str:
        """Only the process with the lock writes here."""
        if self._lock is None:
            return ""
        with self._translated():
            if not first or text_of(self._folder.account(directory)) is None:
                write(self._folder.account(directory), account)
            return text_of(self._folder.account(directory)) or account

    async def begin(self, holder: str, name: str, seen: str, per_hour: int) -> OrderStart:
        """Only one process comes here: the one with the lock."""
        if self._lock is None:
            return OrderStart(begun=False, reason="lost")
        with self._translated():
            if (self._folder.standing(name) or Standing("")).certificate != seen:
                return OrderStart(begun=False, reason="changed")
            path, now = self._folder.orders, time.time()
            known = decoded(text_of(path), list[float]) or ()
            orders = [at for at in known if now - HOUR < at <= now]
            if len(orders) >= per_hour:
                return OrderStart.too_many(per_hour, min(orders) + HOUR - now)
            write(path, msgspec.json.encode([*orders, now]).decode())
        return OrderStart(begun=True)

    async def finish(self, holder: str, name: str, seen: str, pair: Pair, mark: str) -> OrderEnd:
        """In one file, so that certificate and key always fit."""
        if self._lock is None:
            return OrderEnd.LOST
        with self._translated():
            self._folder.forget(name)
            if (self._folder.standing(name) or Standing("")).certificate != seen:
                return OrderEnd.CHANGED
            both = f"{pair[1].strip()}\n{pair[0].strip()}"
            write(self._folder.certificate(name), f"ordered from {mark}\n{both}\n")
        return OrderEnd.WRITTEN

    async def fail(self, holder: str, name: str, state: IssuanceState) -> bool:
        """Only the process with the lock writes here."""
        if self._lock is None:
            return False
        with self._translated():
            write(self._folder.states / name, msgspec.json.encode(state).decode())
        await self.drop_wish(name)
        return True

    async def standing(self) -> AsyncIterator[tuple[str, Standing]]:
        """Reads every file."""
        with self._translated():
            paths = self._folder.files(self._folder.certs)
        for path in paths:
            if path.suffix == ".pem" and (found := await self.stands(path.stem)) is not None:
                yield path.stem, found

    async def stands(self, name: str) -> Standing | None:
        """One read."""
        with self._translated():
            return self._folder.standing(name)

    async def progress(self, name: str) -> Progress:
        """Two reads."""
        with self._translated():
            return Progress(self._folder.certificate(name).exists(), self._folder.state(name))

    async def progress_of(self, names: Sequence[str]) -> dict[str, Progress]:
        """Two reads for each."""
        return {name: await self.progress(name) for name in names}

    async def states(self) -> dict[str, IssuanceState]:
        """Reads every file."""
        with self._translated():
            names = [path.name for path in self._folder.files(self._folder.states)]
            found = {name: self._folder.state(name) for name in names}
        return {name: state for name, state in found.items() if state is not None}

    async def wish(self, name: str, wish: Wish, *, own: bool = True) -> bool:
        """A file with the reason in it."""
        with self._translated():
            path = self._folder.wanted / name
            if wish is Wish.CLIENT:
                full = not own and unexpired(self._folder.full) is not None
                wanted = self._folder.files(self._folder.wanted)
                if path.exists() or full or len(wanted) >= most_wishes(own=own):
                    return path.exists()
            write(path, wish.value)
        return True

    async def refuse_below_wildcards(self, seconds: float) -> None:
        """A file that says until when."""
        with self._translated():
            write_until(self._folder.full, "", seconds)

    async def wishes(self) -> dict[str, Wish]:
        """Those of clients that have gone long ago are dropped."""
        found: dict[str, Wish] = {}
        with self._translated():
            for path in self._folder.files(self._folder.wanted):
                text = text_of(path)
                if text not in set(Wish) or age_of(path) > Wish(text).lasts:
                    path.unlink(missing_ok=True)
                else:
                    found[path.name] = Wish(text)
        return found

    async def drop_wish(self, name: str) -> None:
        """Remove the file."""
        with self._translated():
            (self._folder.wanted / name).unlink(missing_ok=True)

    async def put_challenge(self, token: str, answer: str, seconds: float) -> None:
        """A file that says until when."""
        with self._translated():
            write_until(self._folder.challenges / token, answer, seconds)

    async def drop_challenge(self, token: str) -> None:
        """Remove the file."""
        with self._translated():
            (self._folder.challenges / token).unlink(missing_ok=True)

    async def challenge(self, token: str) -> str | None:
        """One read."""
        with self._translated():
            return unexpired(self._folder.challenges / token)

    async def remove(self, name: str) -> bool:
        """All files of the name."""
        with self._translated():
            self._folder.forget(name)
            there = self._folder.certificate(name).exists()
            self._folder.certificate(name).unlink(missing_ok=True)
        return there

    async def watch(self, listener: IssuanceListener) -> None:
        """Looks at the names of files that changed, and for the folder while it cannot be used."""
        while True:
            try:
                await self._watch(listener)
            except OSError as exc:
                listener.lost(str(exc))
            await asyncio.sleep(WATCH_AGAIN)

    async def _watch(self, listener: IssuanceListener) -> None:
        folders = self._folder.wanted, self._folder.certs
        for folder in folders:
            make_folder(folder)
        listener.tracking()
        async for changes in awatch(*folders, debounce=50, step=20, recursive=False):
            paths = [Path(path) for _, path in changes]
            if any(path.parent.name == self._folder.wanted.name for path in paths):
                listener.wished()
            if names := [path.stem for path in paths if path.suffix == ".pem"]:
                listener.changed(names)
