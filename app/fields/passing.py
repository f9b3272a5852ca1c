"""Which of a client's fields go on to a backend: one rule for each name. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from .names import CLAIMS, FORWARDED, HOP_BY_HOP, FieldNames, as_read
from .via import CDN_LOOP, VIA

MAX_NAMES = 4096
MAX_NAME = 64
"""Bytes; nobody repeats longer names."""


class Rule(Enum):
    """What becomes of a field."""

    PASS = auto()
    STOP = auto()
    CONNECTION = auto()
    """It stops, and so do those that it names."""
    CODING = auto()
    """`Transfer-Encoding`: it stops, and so does a length beside it."""
    TRAILERS = auto()
    """`TE`: it stops, but its `trailers` may be said anew."""
    HOPS = auto()
    """It passes, if it does not show that the request goes round."""


_OURS = FORWARDED | HOP_BY_HOP | {b"content-length", b"x-debug", b"proxy"}
_RULES = {
    b"connection": Rule.CONNECTION,
    b"transfer-encoding": Rule.CODING,
    b"content-length": Rule.PASS,
    b"te": Rule.TRAILERS,
}


class Passing(dict[bytes, Rule]):
    """The rule for each name, found once and then remembered: clients repeat their names."""

    def __init__(
        self,
        claims: FieldNames,
        *,
        trusted: bool = False,
        via: bool = True,
        ours: Iterable[bytes] = (),
    ) -> None:
        """`claims` pass only from a trusted proxy, and only as the list spells them: a proxy
        that sets `X-Forwarded-Ssl` may let a stranger's `X_Forwarded_Ssl` pass. `via`: whether
        `Via` passes and tells of loops; else `CDN-Loop` does. `ours`: more fields that we set."""
        super().__init__()
        self._claims = claims
        self._trusted = trusted
        self._ours = _OURS.union(ours)
        self._hops = VIA if via else CDN_LOOP

    def __missing__(self, name: bytes) -> Rule:
        rule = self._rule(name)
        if len(name) <= MAX_NAME:
            if len(self) >= MAX_NAMES:
                self.clear()
            self[name] = rule
        return rule

    def _rule(self, name: bytes) -> Rule:
        if name in _RULES:
            return _RULES[name]
        if name == self._hops:
            return Rule.HOPS
        if as_read(name) in self._ours or name == VIA:
            return Rule.STOP
        if self._claims.has(name) and not (self._trusted and self._claims.spells(name)):
            return Rule.STOP
        return Rule.PASS


STRANGERS = Passing(FieldNames.parse(CLAIMS))
"""For an unknown client, in a configuration that says nothing else."""
