"""Leases among the workers of one machine that serve the same table: locked files in memory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

from ...system.machine_claims import MachineClaims
from ...system.shared_folder import memory_folder, open_own


class FileLeases:
    """base.Leases: the kernel takes a lock from a worker however it ends."""

    def __init__(self, table: Path) -> None:
        """`table`: the path as the configuration names it, made absolute."""
        self._table = table
        self._claims = claims_of_table(table)
        self._held: dict[str, tuple[int, asyncio.TimerHandle]] = {}

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Where no file can be made, every worker is for itself."""
        loop = asyncio.get_running_loop()
        kept = self._held.pop(name, None)
        if kept is not None:
            kept[1].cancel()
            descriptor = kept[0]
        else:
            try:
                descriptor = self._locked(name)
            except BlockingIOError:
                return False
            except OSError:
                return True
        self._held[name] = descriptor, loop.call_later(seconds, self._release, name)
        return True

    async def claim(self, name: str, seconds: float) -> bool:
        """It outlives the worker."""
        return self._claims.claim(name, seconds)

    def close(self) -> None:
        """Give all of them back."""
        for name in list(self._held):
            self._held[name][1].cancel()
            self._release(name)

    def _release(self, name: str) -> None:
        descriptor, _ = self._held.pop(name)
        with contextlib.suppress(OSError):
            self._path(name).unlink()
        os.close(descriptor)

    def _locked(self, name: str) -> int:
        descriptor = open_own(self._path(name))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(descriptor).st_nlink:  # its holder has just removed it
                raise BlockingIOError
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _path(self, name: str) -> Path:
        lease = hashlib.sha256(os.fsencode(self._table) + b"\0" + name.encode()).hexdigest()[:24]
        return memory_folder() / f"hipache-lease-{os.geteuid()}-{lease}"


def claims_of_table(table: Path) -> MachineClaims:
    """What the workers of one machine that serve it have claimed."""
    return MachineClaims(f"file:{table}")
