"""When each certificate is renewed. Reads no clock: `now` is Unix seconds."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509

from ...stores.issuance import Standing

SHARE, SPREAD = 2 / 3, 1 / 30
"""Of its life, when a certificate is renewed, and by how much later the last of many is."""
LOOK_AGAIN = 3600.0
"""Seconds until one that is not ours to renew is looked at again."""
REST = 3600.0
"""Seconds after an order in which a name is not renewed, whatever its certificate says."""
NO_ADVICE_FOR = 6 * 3600.0
"""Seconds until a CA that gives no advice (RFC 9773) is asked again."""


@dataclass(slots=True)
class _Known:
    standing: int
    """The hash of what stands there."""
    ours: bool
    """Of the CA that may be asked for advice."""
    ends: float
    due: float
    ask_at: float = 0.0
    """When to ask the CA for its advice."""


def renewal_time(name: str, begins: float, ends: float) -> float:
    """At two thirds of its life; for each name a little later than for others.

    >>> 60 <= renewal_time("a.example", 0.0, 90.0) <= 63
    True
    """
    share = zlib.crc32(name.encode()) / 2**32
    return begins + (ends - begins) * (SHARE + SPREAD * share)


class RenewalSchedule:
    """All certificates of the store."""

    def __init__(self, directory: str) -> None:
        """`directory`: the CA that may be asked for advice on its own certificates."""
        self._directory = directory
        self._known: dict[str, _Known] = {}
        self._rest: dict[str, float] = {}
        self._no_advice_until = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def keep_only(self, names: Collection[str]) -> None:
        """There are no others any more."""
        for name in self._known.keys() - set(names):
            del self._known[name]

    def seen(self, name: str, standing: Standing | None) -> None:
        """This certificate stands there now."""
        if standing is None or name.startswith("*"):
            self._known.pop(name, None)
            return
        if name in self._known and self._known[name].standing == hash(standing):
            return
        try:
            found = x509.load_pem_x509_certificate(standing.certificate.encode())
        except ValueError:
            self._known.pop(name, None)  # somebody else's to mend
            return
        begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
        due = max(renewal_time(name, begins, ends), self._rest.get(name, 0.0))
        self._known[name] = _Known(hash(standing), standing.mark == self._directory, ends, due)

    def due(self, now: float) -> list[str]:
        """Those whose time has come, the one that ends first first."""
        names = [name for name, known in self._known.items() if known.due <= now]
        return sorted(names, key=lambda name: self._known[name].ends)

    def is_known(self, name: str, standing: Standing) -> bool:
        """Whether that is what the schedule goes by."""
        return name in self._known and self._known[name].standing == hash(standing)

    def ordered(self, name: str, now: float) -> None:
        """It has just got one. A clock that is wrong must not order another one at once."""
        self._rest[name] = now + REST
        if (known := self._known.get(name)) is not None:
            known.due = max(known.due, now + REST)

    def put_off(self, name: str, until: float) -> None:
        """Look at it again then."""
        if name in self._known:
            self._known[name].due = until

    # The CA's advice

    def to_ask(self, now: float) -> str | None:
        """A certificate of ours for which the CA is to be asked now."""
        if now < self._no_advice_until:
            return None
        return next(
            (
                name
                for name, known in self._known.items()
                if known.ours and known.ask_at <= now < known.ends
            ),
            None,
        )

    def advised(self, name: str, at: float | None, ask_at: float) -> None:
        """The CA wants this one renewed at `at`; ask again at `ask_at`."""
        if name in self._known:
            self._known[name].ask_at = ask_at
            if at is not None:
                self._known[name].due = max(at, self._rest.get(name, 0.0))

    def no_advice(self, now: float) -> None:
        """The CA gives none."""
        self._no_advice_until = now + NO_ADVICE_FOR
