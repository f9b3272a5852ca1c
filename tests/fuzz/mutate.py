"""A mutator for where there is no atheris: seeds cut, spliced, flipped, sown with tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def mutations(
    seeds: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random
) -> Iterator[bytes]:
    """Without end; the seeds themselves come first."""
    yield from seeds
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            chance.choice(STEPS)(data, seeds, tokens, chance)
        yield bytes(data)


def _insert_token(data: bytearray, seeds: object, tokens: Sequence[bytes], chance: random.Random):
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(tokens)


def _replace_with_token(data: bytearray, seeds: object, tokens: Sequence[bytes], chance):
    at = chance.randrange(len(data) + 1)
    token = chance.choice(tokens)
    data[at : at + len(token)] = token


def _flip(data: bytearray, seeds: object, tokens: object, chance: random.Random):
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _delete(data: bytearray, seeds: object, tokens: object, chance: random.Random):
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.choice((1, 1, 2, 4, 20))]


def _repeat(data: bytearray, seeds: object, tokens: object, chance: random.Random):
    at = chance.randrange(len(data) + 1)
    data[at:at] = data[at : at + chance.choice((1, 4, 30))] * chance.choice((1, 2, 50))


def _splice(data: bytearray, seeds: Sequence[bytes], tokens: object, chance: random.Random):
    other = chance.choice(seeds)
    at = chance.randrange(len(data) + 1)
    data[at:] = other[chance.randrange(len(other) + 1) :]


STEPS = [
    _insert_token, _insert_token, _replace_with_token, _flip, _flip, _delete, _repeat, _splice,
]  # fmt: skip
