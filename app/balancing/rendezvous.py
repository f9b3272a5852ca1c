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
_LANE = 8  # bytes of one backend's product
_SCORE = 4  # of them are its score: the product modulo 2**32

Best = Callable[[int], tuple[int, int]]
"""From a multiplier to the position and the score of the highest."""


class Rendezvous:
    """Places keys on numbered backends; every weight is greater than 0."""

    winner: Callable[[bytes], int]
    """The number of the backend that a key belongs to."""

    def __init__(self, urls: Sequence[str], weights: Sequence[float]) -> None:
        by_weight: dict[float, list[int]] = {}
        for number, weight in enumerate(weights):
            by_weight.setdefault(weight, []).append(number)
        seeds = [_seed(url) for url in urls]
        if len(by_weight) > 1 and len(urls) <= _FEW:
            self.winner = _winner_of_few_by_weight(seeds, weights)
        elif len(by_weight) > 1:
            classes = [
                (1 / weight, numbers, _best([seeds[number] for number in numbers]))
                for weight, numbers in by_weight.items()
            ]
            self.winner = lambda key: _winner_by_weight(classes, _multiplier(key))
        elif len(urls) > _FEW:
            best = _best_of_many(seeds)
            self.winner = lambda key: best(_multiplier(key))[0]
        else:
            self.winner = _winner_of_few(seeds)


def _seed(url: str) -> int:
    # An even one would lose a bit of the key.
    return int.from_bytes(blake2b(url.encode(), digest_size=_SCORE).digest(), "little") | 1


def _multiplier(key: bytes) -> int:
    # 30 bits are one digit of a Python integer: a single pass in the product.
    # An even one would lose bits of the seeds, 0 all of them.
    return crc32(key) & 0x3FFFFFFF | 1


def _winner_by_weight(classes: Sequence[tuple[float, Sequence[int], Best]], multiplier: int) -> int:
    """As in Schindelhauer and Schomaker, "Weighted distributed hash tables"."""
    winner, highest = 0, -inf
    for inverse, numbers, best in classes:
        position, score = best(multiplier)
        weighted = log((score + 0.5) / 2**32) * inverse
        if weighted > highest:
            winner, highest = numbers[position], weighted
    return winner


def _winner_of_few(seeds: Sequence[int]) -> Callable[[bytes], int]:
    """The common case without a call that it could do without: 1.4 us became 0.9."""
    numbered = list(enumerate(seeds))

    def winner(key: bytes) -> int:
        multiplier = crc32(key) & 0x3FFFFFFF | 1
        position, highest = 0, -1
        for number, seed in numbered:
            score = seed * multiplier & 0xFFFFFFFF
            if score > highest:
                position, highest = number, score
        return position

    return winner


def _winner_of_few_by_weight(
    seeds: Sequence[int], weights: Sequence[float]
) -> Callable[[bytes], int]:
    numbered = [(number, seeds[number], 1 / weight) for number, weight in enumerate(weights)]

    def winner(key: bytes) -> int:
        multiplier = crc32(key) & 0x3FFFFFFF | 1
        position, highest = 0, -inf
        for number, seed, inverse in numbered:
            weighted = log(((seed * multiplier & 0xFFFFFFFF) + 0.5) / 4294967296) * inverse
            if weighted > highest:
                position, highest = number, weighted
        return position

    return winner


def _best(seeds: Sequence[int]) -> Best:
    """The score of a backend is (seed of its URL * multiplier) modulo 2**32."""
    if len(seeds) > _FEW:
        return _best_of_many(seeds)

    def best(multiplier: int) -> tuple[int, int]:
        scores = [seed * multiplier & 0xFFFFFFFF for seed in seeds]
        highest = max(scores)
        return scores.index(highest), highest

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
