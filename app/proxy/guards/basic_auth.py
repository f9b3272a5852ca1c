"""Users and passwords: a thread computes the slow hash once, then memory answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from ...frontends.passwords import PasswordHash, credentials
from .password_line import PasswordLine

MAX_REMEMBERED = 4096
"""Verdicts, on right and wrong passwords, that a worker remembers."""
THREADS = 2

Users = Mapping[str, PasswordHash]


class BasicAuth:
    """One worker's memory of passwords: keyed hashes, whose key ends with the worker."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._verdicts: dict[bytes, bool] = {}
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._line = PasswordLine(THREADS)
        self._threads: ThreadPoolExecutor | None = None

    def known(self, users: Users, authorization: bytes | None) -> bool | None:
        """Whether this field is right; None: ask `verify`."""
        said = credentials(authorization)
        if said is None:
            return False
        return self._verdicts.get(self._name(users, *said))

    async def verify(
        self, frontend: str, client: str, users: Users, authorization: bytes | None
    ) -> bool:
        """The same, in some 40 ms. Raises AccessUnknown where too many of `client` wait already."""
        said = credentials(authorization)
        if said is None:
            return False
        name = self._name(users, *said)
        task = self._running.get(name)  # a browser sends twenty requests at once
        if task is None:
            finding_out = self._find_out(name, frontend, client, users, said)
            task = asyncio.ensure_future(finding_out)
            self._running[name] = task
        return await asyncio.shield(task)

    async def _find_out(
        self, name: bytes, frontend: str, client: str, users: Users, said: tuple[str, bytes]
    ) -> bool:
        try:
            await self._line.enter(frontend, client)
            try:
                return await self._compute(name, users, *said)
            finally:
                self._line.leave()
        finally:
            del self._running[name]

    async def _compute(self, name: bytes, users: Users, user: str, password: bytes) -> bool:
        # An unknown user takes as long as a known one, so the time tells nothing.
        kept = users.get(user) or next(iter(users.values()))
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, kept.matches, password)
        verdict = right and user in users
        self._remember(name, verdict)
        return verdict

    def _remember(self, name: bytes, verdict: bool) -> None:
        self._verdicts[name] = verdict
        if len(self._verdicts) > MAX_REMEMBERED:
            # Forget wrong guesses before right ones.
            wrong = next((n for n, right in self._verdicts.items() if not right), None)
            del self._verdicts[next(iter(self._verdicts)) if wrong is None else wrong]

    def _name(self, users: Users, user: str, password: bytes) -> bytes:
        """The key of a verdict: it holds for this hash, this user and this password."""
        kept = users.get(user)
        stored = b"" if kept is None else kept.salt + kept.digest
        parts = (stored, user.encode("utf-8", "surrogatepass"), password)
        return blake2b(b"".join(b"%d:%b" % (len(p), p) for p in parts), key=self._key).digest()

    def close(self) -> None:
        """Let the threads end."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
