"""Request loops, and the field that shows them: `Via` (RFC 9110 §7.6.3) or `CDN-Loop`. Pure.

A backend's URL may lead back to this proxy, over a balancer or another proxy. A
request with the same Host would then go round for ever, and multiply with each retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from ..errors import LoopDetected

VIA = b"via"
CDN_LOOP = b"cdn-loop"
"""Shows loops where `server.via` is off (RFC 8586): proxies pass it on, and backends answer as
if it were not there."""
_PREFIX = b"hipache-"
MAX_PASSES = 2
"""How often a request may have passed this proxy before. Once is normal for two Hipaches in a
row on one machine, or for a backend that asks another host here with the fields it was sent."""


def hop_name(*parts: str) -> bytes:
    """What a proxy calls itself: the same for all its workers, and a hash, so it reveals nothing.

    >>> hop_name("redis://10.0.0.5:6379", "edge-1")
    b'hipache-33a9bb7edb'
    """
    return _PREFIX + blake2b("\0".join(parts).encode(), digest_size=5).hexdigest().encode()


class HopFields(dict[str, tuple[bytes, bytes]]):
    """What a proxy called `hop` adds to a request, by the version in which it came.

    >>> HopFields(b"hipache-a")["2"], HopFields(b"hipache-a", via=False)["2"]
    ((b'via', b'2 hipache-a'), (b'cdn-loop', b'a'))
    """

    def __init__(self, hop: bytes, *, via: bool = True) -> None:
        super().__init__()
        self._hop = hop
        self._via = via

    def __missing__(self, version: str) -> tuple[bytes, bytes]:
        field = CDN_LOOP, self._hop.removeprefix(_PREFIX)
        if self._via:
            field = VIA, b"%b %b" % (version.encode("ascii"), self._hop)
        self[version] = field
        return field


def refuse_loop(
    headers: Iterable[tuple[bytes, bytes]], ours: Sequence[tuple[bytes, bytes]]
) -> None:
    """Raise LoopDetected for a request that passed here too often; `ours` has our own hop."""
    for name, value in ours:
        if name in {VIA, CDN_LOOP}:
            mine = value.rpartition(b" ")[2]
            if sum(said.count(mine) for other, said in headers if other == name) >= MAX_PASSES:
                raise LoopDetected
