"""Request loops, and the `Via` field that shows them (RFC 9110 §7.6.3). Pure.

A backend's URL may lead back to this proxy, over a balancer or another proxy. A
request with the same Host would then go round for ever, and multiply with each retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from ..errors import LoopDetected

VIA = b"via"
MAX_PASSES = 2
"""How often a request may have passed this proxy before. Once is normal for two Hipaches in a
row on one machine, or for a backend that asks another host here with the fields it was sent."""


def hop_name(*parts: str) -> bytes:
    """What a proxy calls itself: the same for all its workers, and a hash, so it reveals nothing.

    >>> hop_name("redis://10.0.0.5:6379", "edge-1")
    b'hipache-33a9bb7edb'
    """
    return b"hipache-" + blake2b("\0".join(parts).encode(), digest_size=5).hexdigest().encode()


class ViaFields(dict[str, tuple[bytes, bytes]]):
    """What a proxy called `hop` adds to a request, by the version in which it came.

    >>> ViaFields(b"a")["1.1"], ViaFields(b"a")["2"]
    ((b'via', b'1.1 a'), (b'via', b'2 a'))
    """

    def __init__(self, hop: bytes) -> None:
        super().__init__()
        self._hop = hop

    def __missing__(self, version: str) -> tuple[bytes, bytes]:
        field = self[version] = VIA, b"%b %b" % (version.encode("ascii"), self._hop)
        return field


def refuse_loop(
    headers: Iterable[tuple[bytes, bytes]], ours: Sequence[tuple[bytes, bytes]]
) -> None:
    """Raise LoopDetected for a request that passed here too often; `ours` has our own `Via`."""
    mine = next((value for name, value in ours if name == VIA), b"").rpartition(b" ")[2]
    passes = sum(value.count(mine) for name, value in headers if name == VIA) if mine else 0
    if passes >= MAX_PASSES:
        raise LoopDetected
