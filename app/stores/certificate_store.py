"""What a store offers that holds certificates towards clients, as planb and tsuru write them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from ..errors import StoreUnavailable

Pair = tuple[str, str]
"""Certificate and private key in PEM form; empty texts where there are none."""
NO_PAIR: Pair = ("", "")


class CertificateListener(Protocol):
    """Hears from `CertificateStore.watch` what happens to the store. No method waits or raises."""

    def tracking(self) -> None:
        """Every change is reported from now on; what was read before may be old."""

    def lost(self, reason: str) -> None:
        """Changes are no longer reported."""

    def changed(self, names: Sequence[str] | None) -> None:
        """The certificates of these names changed; None: any may have."""


class CertificateStore(Protocol):
    """All `tls:<name>` of a store. Every method raises StoreUnavailable, and nothing else."""

    async def read(self, names: Sequence[str]) -> list[Pair | StoreUnavailable]:
        """For each name its pair, or why that one cannot be read."""

    def listed(self) -> AsyncGenerator[tuple[str, str | StoreUnavailable], None]:
        """Each name with its certificate, or why that one cannot be read; one may come twice.

        Reads the whole store, some at a time.
        """

    async def watch(self, listener: CertificateListener) -> None:
        """Report changes until cancelled; connects and connects again by itself."""

    async def aclose(self) -> None:
        """Release connections."""
