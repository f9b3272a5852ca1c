"""Which primary has which slots, and in which slot a command's key lies. Pure.

The division: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

Address = tuple[str, int]
Argument = str | bytes | int | float

SLOTS = REDIS_CLUSTER_HASH_SLOTS
KEYLESS = frozenset({
    "ASKING", "CLUSTER", "CONFIG", "DBSIZE", "EXEC", "INFO", "MULTI", "PING", "PUBLISH", "SCRIPT",
    "TIME",
})  # fmt: skip
"""Commands of ours that name no key: any primary takes them."""


class SlotMap:
    """The primaries of a cluster at one time."""

    def __init__(self) -> None:
        self._owners: list[Address | None] = [None] * SLOTS

    @classmethod
    def of_answer(cls, answer: Any, asked: str) -> SlotMap:
        """From the answer to CLUSTER SLOTS. A server that does not know its own host is named by
        the one under which it was asked."""
        found = cls()
        for first, last, primary, *_ in answer:
            host = primary[0].decode() if primary[0] else asked
            for slot in range(int(first), int(last) + 1):
                found._owners[slot] = (host, int(primary[1]))
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlotMap) and self._owners == other._owners

    __hash__ = None  # type: ignore[assignment]

    def owner(self, slot: int) -> Address | None:
        """Who has this slot; None where nobody has."""
        return self._owners[slot]

    def move(self, slot: int, to: Address) -> None:
        """A server says that another one has this slot."""
        self._owners[slot] = to

    def primaries(self) -> list[Address]:
        """All of them, in the order of their addresses."""
        return sorted({owner for owner in self._owners if owner is not None})

    def slots_outside(self, primaries: Collection[Address]) -> frozenset[int]:
        """Slots that none of these has."""
        return frozenset(n for n, owner in enumerate(self._owners) if owner not in primaries)


def slot_of(key: Argument) -> int:
    """The slot of a key: that of its hash tag, `{...}`, if it has one.

    >>> slot_of("frontend:{a.example}"), slot_of("options:{a.example}")
    (3465, 3465)
    """
    return key_slot(encoded(key))


def key_of(command: Sequence[Argument]) -> Argument | None:
    """The first key of a command.

    >>> key_of(("GET", "a")), key_of(("EVAL", "return 1", 1, "b", "x")), key_of(("TIME",))
    ('a', 'b', None)
    """
    name = str(command[0]).split(" ", maxsplit=1)[0].upper()
    if name in KEYLESS:
        return None
    place = 3 if name in ("EVAL", "EVALSHA") else 1
    return command[place] if len(command) > place else None


def encoded(argument: Argument) -> bytes:
    """As it is sent."""
    return argument if isinstance(argument, bytes) else str(argument).encode()
