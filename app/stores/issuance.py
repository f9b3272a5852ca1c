"""What a store offers to those who get certificates: one who works, wishes, challenges, results.

At most one process of the fleet orders certificates: the holder of a lease. What it writes, it
writes as that holder; after the lease has moved, the store takes nothing from it any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from .certificate_store import Pair

MOST_WISHES = 1000
"""Names that may wait for a certificate; clients cause them, so there is a limit. Those below
wildcards, which clients can invent, take half of it at most."""
WISH_LASTS = 600.0
"""Seconds after which a client's wish is forgotten: it has gone long ago."""
STATE_LASTS = 2 * 86_400
"""Seconds that a failure is remembered; longer than the longest wait after one."""
HOUR = 3600.0


def most_wishes(*, own: bool) -> int:
    """Names that may wait when a client wishes for one more; `own`: as in IssuanceStore.wish."""
    return MOST_WISHES if own else MOST_WISHES // 2


class Wish(StrEnum):
    """Why a certificate is wanted."""

    CLIENT = "client"
    """A client asked for the name in a handshake."""
    ORDER = "order"
    """A person wants one if there is none, whatever failed before."""
    RENEW = "renew"
    """A person wants a new one."""

    @property
    def lasts(self) -> float:
        """Seconds after which it is forgotten."""
        return WISH_LASTS if self is Wish.CLIENT else HOUR


class IssuanceState(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the attempts for one name since the last success. Times are Unix seconds."""

    error: str
    failures: tuple[float, ...] = ()
    """When they failed, the latest last."""
    not_before: float = 0.0
    """When the next attempt may be made."""


class Standing(NamedTuple):
    """The certificate that stands in the store for one name."""

    certificate: str
    """The chain in PEM form."""
    mark: str = ""
    """Our mark: the CA that it was ordered from; empty if somebody else wrote it."""


class Progress(NamedTuple):
    """How far the certificate of a name is."""

    there: bool
    state: IssuanceState | None


class OrderStart(NamedTuple):
    """Whether an order may begin."""

    begun: bool
    reason: str = ""
    wait: float = 0.0
    """Seconds until it may, where waiting helps."""

    @classmethod
    def too_many(cls, per_hour: int, wait: float) -> OrderStart:
        """The budget of this hour is used up."""
        return cls(False, f"{per_hour} orders in the last hour, as many as are allowed", wait)


class OrderEnd(StrEnum):
    """What became of a new certificate."""

    WRITTEN = "written"
    LOST = "lost"
    """The lease has gone."""
    CHANGED = "changed"
    """Somebody put another certificate there, or removed it, while this one was ordered."""


class IssuanceListener(Protocol):
    """Hears from `IssuanceStore.watch`. No method waits or raises."""

    def tracking(self) -> None:
        """Every change is reported from now on; what was read before may be old."""

    def changed(self, names: Sequence[str] | None) -> None:
        """The certificates of these names changed; None: any may have."""

    def wished(self) -> None:
        """A certificate is wanted."""

    def lost(self, reason: str) -> None:
        """Changes are no longer reported."""


class IssuanceStore(Protocol):
    """Every method raises StoreUnavailable, and nothing else."""

    name: str
    """For the log, without secrets."""
    certs: str | None
    """The folder of the certificates, where they are files; else they are read as CertificateStore
    has it."""

    # The one who works.

    async def hold(self, holder: str, seconds: float) -> bool:
        """Take the lease, or keep it, for `seconds` from now. False while another has it."""

    async def release(self, holder: str) -> None:
        """Give the lease back, if `holder` has it."""

    async def account(self, directory: str) -> str | None:
        """The account at that CA, with its private key."""

    async def keep_account(self, holder: str, directory: str, account: str, *, first: bool) -> str:
        """Keep it. With `first` one that is there already stays. Returns what is kept;
        empty: the lease has gone, and nothing was written."""

    async def begin(self, holder: str, name: str, seen: str, per_hour: int) -> OrderStart:
        """Count an order, if the lease is held, `seen` is the certificate that stands there
        (empty: none), and there were fewer than `per_hour` in the last hour."""

    async def finish(self, holder: str, name: str, seen: str, pair: Pair, mark: str) -> OrderEnd:
        """Forget wish and failures, and write certificate, key and mark, if `seen` stands there
        still, as in `begin`."""

    async def fail(self, holder: str, name: str, state: IssuanceState) -> bool:
        """Write what went wrong; forget the wish. False: the lease has gone."""

    def standing(self) -> AsyncIterator[tuple[str, Standing]]:
        """Every certificate. Reads them all."""

    async def watch(self, listener: IssuanceListener) -> None:
        """Report changes until cancelled; connects and connects again by itself."""

    # Wishes and challenges.

    async def wish(self, name: str, wish: Wish, *, own: bool = True) -> bool:
        """Want a certificate. False: clients want too many already, or are refused; a person may
        always. `own`: the name is a frontend of its own, and not below a wildcard."""

    async def refuse_below_wildcards(self, seconds: float) -> None:
        """Take no client's wish for a name below a wildcard for so long: it could not be met.
        Clients can invent such names, and what is kept of each one that failed would fill the
        store."""

    async def wishes(self) -> dict[str, Wish]:
        """Names that somebody wants a certificate for."""

    async def drop_wish(self, name: str) -> None:
        """It needs none any more."""

    async def put_challenge(self, token: str, answer: str, seconds: float) -> None:
        """What a CA shall be answered for `seconds` from now."""

    async def drop_challenge(self, token: str) -> None:
        """The CA has asked."""

    async def challenge(self, token: str) -> str | None:
        """What to answer a CA that asks for this token."""

    # For everybody.

    async def stands(self, name: str) -> Standing | None:
        """The certificate of exactly this name."""

    async def progress(self, name: str) -> Progress:
        """How far the certificate of this name is."""

    async def progress_of(self, names: Sequence[str]) -> dict[str, Progress]:
        """The same of several: for those who wait, and look again and again."""

    async def states(self) -> dict[str, IssuanceState]:
        """Every name with failures."""

    async def remove(self, name: str) -> bool:
        """Remove certificate, key, wish and failures. False: there was none."""

    async def aclose(self) -> None:
        """Release connections and files."""
