"""A folder in which the processes of one proxy get certificates, where the store holds none.

    lock                 locked by the process that orders certificates
    account-<hash>.json  the account at a CA, with its private key
    orders.json          when orders of the last hour began
    challenges/<token>   until when, and what, a CA is answered
    wanted/<name>        why a certificate is wanted
    state/<name>         what went wrong, until when to wait
    certs/<name>.pem     certificate and private key

Only the user who runs the proxy can read them: folders have mode 0700, files 0600.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec
from watchfiles import awatch

from ...errors import StoreUnavailable
from ..certificate_store import Pair
from ..issuance import (
    HOUR,
    MOST_WISHES,
    IssuanceListener,
    IssuanceState,
    OrderEnd,
    OrderStart,
    Progress,
    Standing,
    Wish,
)
from ..unavailable import translated
from .small_files import age_of, decoded, text_of, unexpired, write, write_until

CERTS, WANTED, STATE, CHALLENGES, FULL = "certs", "wanted", "state", "challenges", "full"
_CHAIN = re.compile(r"-----BEGIN CERTIFICATE-----.*", re.S)
_MARK = re.compile(r"ordered from (\S+)\n")


class FileIssuance:
    """issuance.IssuanceStore in a folder."""

    certs: str | None

    def __init__(self, folder: str) -> None:
        """Makes what is missing when something is written."""
        self.name = f"folder {folder}"
        self._translated = partial(translated, self.name)
        self._folder, self.certs = Path(folder), os.path.join(folder, CERTS)
        self._lock: IO[str] | None = None

    def _certificate(self, name: str) -> Path:
        return self._folder / CERTS / f"{name}.pem"

    async def hold(self, holder: str, seconds: float) -> bool:
        """The kernel frees the lock when its process ends."""
        if self._lock is not None:
            return True
        with self._translated():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.fdopen(os.open(self._folder / "lock", os.O_CREAT | os.O_WRONLY, 0o600), "w")
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

    def _account(self, directory: str) -> Path:
        return self._folder / f"account-{sha256(directory.encode()).hexdigest()[:16]}.json"

    async def account(self, directory: str) -> str | None:
        """One for each directory: another CA is another account."""
        with self._translated():
            return text_of(self._account(directory))

    async def keep_account(self, holder: str, directory: str, account: str, *, first: bool) -> str:
        """Only the process with the lock writes here."""
        if self._lock is None:
            return ""
        with self._translated():
            if not first or text_of(self._account(directory)) is None:
                write(self._account(directory), account)
            return text_of(self._account(directory)) or account

    async def begin(self, holder: str, name: str, seen: str, per_hour: int) -> OrderStart:
        """Only one process comes here: the one with the lock."""
        if self._lock is None:
            return OrderStart(begun=False, reason="lost")
        with self._translated():
            if (self._stands(name) or Standing("")).certificate != seen:
                return OrderStart(begun=False, reason="changed")
            path, now = self._folder / "orders.json", time.time()
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
            self._forget(name)
            if (self._stands(name) or Standing("")).certificate != seen:
                return OrderEnd.CHANGED
            both = f"{pair[1].strip()}\n{pair[0].strip()}"
            write(self._certificate(name), f"ordered from {mark}\n{both}\n")
        return OrderEnd.WRITTEN

    def _forget(self, name: str) -> None:
        for kind in (STATE, WANTED):
            (self._folder / kind / name).unlink(missing_ok=True)

    async def fail(self, holder: str, name: str, state: IssuanceState) -> bool:
        """Only the process with the lock writes here."""
        if self._lock is None:
            return False
        with self._translated():
            write(self._folder / STATE / name, msgspec.json.encode(state).decode())
        await self.drop_wish(name)
        return True

    async def standing(self) -> AsyncIterator[tuple[str, Standing]]:
        """Reads every file."""
        for path in self._all(CERTS):
            if path.suffix == ".pem" and (found := self._stands(path.stem)) is not None:
                yield path.stem, found

    async def stands(self, name: str) -> Standing | None:
        """One read."""
        return self._stands(name)

    def _stands(self, name: str) -> Standing | None:
        with self._translated():
            text = text_of(self._certificate(name)) or ""
        chain, mark = _CHAIN.search(text), _MARK.match(text)
        return Standing(chain[0], mark[1] if mark else "") if chain else None

    async def progress(self, name: str) -> Progress:
        """Two reads."""
        with self._translated():
            state = decoded(text_of(self._folder / STATE / name), IssuanceState)
            return Progress(self._certificate(name).exists(), state)

    async def states(self) -> dict[str, IssuanceState]:
        """Reads every file."""
        found = {p.name: decoded(text_of(p), IssuanceState) for p in self._all(STATE)}
        return {name: state for name, state in found.items() if state is not None}

    def _all(self, kind: str) -> list[Path]:
        with self._translated():
            folder = self._folder / kind
            if not folder.is_dir():
                return []
            return sorted(path for path in folder.iterdir() if not path.name.startswith("."))

    async def wish(self, name: str, wish: Wish) -> bool:
        """A file with the reason in it."""
        with self._translated():
            path = self._folder / WANTED / name
            if wish is Wish.CLIENT:
                full = unexpired(self._folder / FULL) is not None
                if path.exists() or full or len(self._all(WANTED)) >= MOST_WISHES:
                    return path.exists()
            write(path, wish.value)
        return True

    async def refuse_clients(self, seconds: float) -> None:
        """A file that says until when."""
        with self._translated():
            write_until(self._folder / FULL, "", seconds)

    async def wishes(self) -> dict[str, Wish]:
        """Those of clients that have gone long ago are dropped."""
        found: dict[str, Wish] = {}
        with self._translated():
            for path in self._all(WANTED):
                text = text_of(path)
                if text not in set(Wish) or age_of(path) > Wish(text).lasts:
                    path.unlink(missing_ok=True)
                else:
                    found[path.name] = Wish(text)
        return found

    async def drop_wish(self, name: str) -> None:
        """Remove the file."""
        with self._translated():
            (self._folder / WANTED / name).unlink(missing_ok=True)

    async def put_challenge(self, token: str, answer: str, seconds: float) -> None:
        """A file that says until when."""
        with self._translated():
            write_until(self._folder / CHALLENGES / token, answer, seconds)

    async def drop_challenge(self, token: str) -> None:
        """Remove the file."""
        with self._translated():
            (self._folder / CHALLENGES / token).unlink(missing_ok=True)

    async def challenge(self, token: str) -> str | None:
        """One read."""
        with self._translated():
            return unexpired(self._folder / CHALLENGES / token)

    async def remove(self, name: str) -> bool:
        """All files of the name."""
        with self._translated():
            self._forget(name)
            there = self._certificate(name).exists()
            self._certificate(name).unlink(missing_ok=True)
        return there

    async def watch(self, listener: IssuanceListener) -> None:
        """Looks at the names of files that changed."""
        with self._translated():
            for kind in (WANTED, CERTS):
                (self._folder / kind).mkdir(mode=0o700, parents=True, exist_ok=True)
        listener.tracking()
        try:
            folders = self._folder / WANTED, self._folder / CERTS
            async for changes in awatch(*folders, debounce=50, step=20, recursive=False):
                paths = [Path(path) for _, path in changes]
                if any(path.parent.name == WANTED for path in paths):
                    listener.wished()
                if names := [path.stem for path in paths if path.suffix == ".pem"]:
                    listener.changed(names)
        except OSError as exc:
            raise StoreUnavailable(f"{self.name}: {exc}") from exc
