"""Rendezvous hashing: every key has its own order of the backends. Pure.

A key goes to the backend whose score for it is the highest, so that an edit
of the list moves only the keys of what left, or of what came (Thaler and
Ravishankar, "Using name-based mappings to increase hit rates", 1998). All
workers of all proxies agree, because a score depends on the key, on the
backend's URL and on its weight, on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import inf, log
from zlib import crc32

_FEW = 16
_MODULUS = 2**32
_LANE = 8  # bytes of one backend's product
_SCORE = 4  # of them are its score: the product modulo _MODULUS

Best = Callable[[int], tuple[int, int]]
"""From a multiplier to the position and the score of the highest."""


class Rendezvous:
    """Places keys on numbered backends; every weight is greater than 0."""

    def __init__(self, urls: Sequence[str], weights: Sequence[float]) -> None:
        by_weight: dict[float, list[int]] = {}
        for number, weight in enumerate(weights):
            by_weight.setdefault(weight, []).append(number)
        self._classes = [
            (1 / weight, numbers, _best([_seed(urls[number]) for number in numbers]))
            for weight, numbers in by_weight.items()
        ]

    def winner(self, key: bytes) -> int:
        """The number of the backend that `key` belongs to."""
        # 30 bits are one digit of a Python integer: a single pass in the product.
        # An even multiplier would lose bits of the seeds, 0 all of them.
        multiplier = crc32(key) & 0x3FFFFFFF | 1
        if len(self._classes) == 1:
            return self._classes[0][2](multiplier)[0]  # its numbers are its positions
        winner, highest = 0, -inf
        for inverse, numbers, best in self._classes:
            position, score = best(multiplier)
            # Weighted as in Schindelhauer and Schomaker, "Weighted distributed hash tables".
            weighted = log((score + 0.5) / _MODULUS) * inverse
            if weighted > highest:
                winner, highest = numbers[position], weighted
        return winner


def _seed(url: str) -> int:
    # An even one would lose a bit of the key.
    return int.from_bytes(blake2b(url.encode(), digest_size=_SCORE).digest(), "little") | 1


def _best(seeds: Sequence[int]) -> Best:
    """The score of a backend is (seed of its URL * multiplier) modulo 2**32."""
    if len(seeds) == 1:
        only = seeds[0]
        return lambda multiplier: (0, only * multiplier % _MODULUS)
    return _best_of_few(seeds) if len(seeds) <= _FEW else _best_of_many(seeds)


def _best_of_few(seeds: Sequence[int]) -> Best:
    def best(multiplier: int) -> tuple[int, int]:
        position = highest = -1
        for number, seed in enumerate(seeds):
            score = seed * multiplier % _MODULUS
            if score > highest:
                position, highest = number, score
        return position, highest

    return best


def _best_of_many(seeds: Sequence[int]) -> Best:
    """The seeds are lanes of one big integer, so that a thousand scores cost one
    multiplication in C instead of a thousand turns of a loop; a product of 32
    and 30 bits never leaves its lane of 64.
    """
    lanes = int.from_bytes(b"".join(seed.to_bytes(_LANE, "little") for seed in seeds), "little")
    size = _LANE * len(seeds)

    def best(multiplier: int) -> tuple[int, int]:
        products = (lanes * multiplier).to_bytes(size, "little")
        first_bytes = products[_SCORE - 1 :: _LANE]
        top = 255
        while (candidate := first_bytes.find(top)) < 0:
            top -= 1
        position = highest = -1
        while candidate >= 0:  # the few that share the highest byte
            start = candidate * _LANE
            score = int.from_bytes(products[start : start + _SCORE], "little")
            if score > highest:
                position, highest = candidate, score
            candidate = first_bytes.find(top, candidate + 1)
        return position, highest

    return best
