"""What the proxies of one JupyterHub share: its routes, and when each was last in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class HubRecordListener(Protocol):
    """Hears from `HubRecords.watch` what happens to the store. No method waits or raises."""

    def tracking(self) -> None:
        """Every change is reported from now on; what was read before may be old."""

    def lost(self, reason: str) -> None:
        """Changes are no longer reported."""

    def changed(self, names: Sequence[str] | None) -> None:
        """The texts of these names changed, or are gone; None: any may have."""


class HubRecords(Protocol):
    """Every method that reads or writes raises StoreUnavailable, and nothing else.

    Times are Unix seconds; a store keeps their milliseconds.
    """

    name: str
    """For the log: without secrets."""

    async def put(self, name: str, text: str, used: float) -> None:
        """Write a text in the place of the one that is there."""

    async def drop(self, name: str) -> bool:
        """Remove a text; whether there was one."""

    async def read(self, names: Sequence[str]) -> dict[str, str | None]:
        """The texts of these names; None where there is none."""

    async def read_all(self) -> dict[str, str]:
        """Every text by its name."""

    async def touch(self, used: Mapping[str, float]) -> None:
        """These were in use then. An earlier time than the one that is there changes nothing."""

    async def used(self) -> dict[str, float]:
        """When each was last in use."""

    async def watch(self, listener: HubRecordListener) -> None:
        """Report changes until cancelled; connects and connects again by itself."""

    async def aclose(self) -> None:
        """Release connections."""
