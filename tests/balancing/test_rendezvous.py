"""Rendezvous hashing: agreement, weights, and how little an edit moves."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.balancing.rendezvous import Rendezvous

KEYS = [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}".encode() for i in range(100_000)]


def urls(count: int) -> list[str]:
    return [f"http://10.1.{i >> 8}.{i & 255}:80" for i in range(count)]


def places(backends: list[str], keys: list[bytes] = KEYS) -> list[str]:
    winner = Rendezvous(backends, [1.0] * len(backends)).winner
    return [backends[winner(key)] for key in keys]


@pytest.mark.parametrize("count", [2, 3, 10, 17, 100])
def test_one_that_leaves_moves_its_own_keys_and_no_other(count: int) -> None:
    before, after = places(urls(count)), places(urls(count)[:-1])
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {urls(count)[-1]}
    assert len(moved) / len(KEYS) <= 1 / count + 0.02


@given(st.permutations(urls(20)), st.binary(max_size=40))
def test_the_order_of_the_list_does_not_matter(shuffled: list[str], key: bytes) -> None:
    assert places(shuffled, [key]) == places(urls(20), [key])


def test_the_few_and_the_many_agree() -> None:
    """A list of 17 takes another path than one of 16; they differ by the keys of the one."""
    before, after = places(urls(17), KEYS[:5000]), places(urls(16), KEYS[:5000])
    assert all(new == old for old, new in zip(before, after, strict=True) if old != urls(17)[16])


@pytest.mark.parametrize("weights", [[1, 1, 1], [5, 3, 2], [1, 1, 8], [0.5, 0.25, 0.25]])
def test_shares_are_the_weights(weights: list[float]) -> None:
    winner = Rendezvous(urls(3), weights).winner
    counts = Counter(winner(key) for key in KEYS)
    for number, weight in enumerate(weights):
        assert counts[number] / len(KEYS) == pytest.approx(weight / sum(weights), abs=0.01)


def test_a_changed_weight_moves_keys_only_to_or_from_its_backend() -> None:
    light, heavy = Rendezvous(urls(5), [1.0] * 5), Rendezvous(urls(5), [1, 1, 3, 1, 1])
    for key in KEYS[:5000]:
        assert heavy.winner(key) in (light.winner(key), 2)


def test_weights_count_alike_among_few_and_among_many() -> None:
    few = Rendezvous(urls(16), [1.0, 2.0] * 8)
    many = Rendezvous(urls(17), [1.0, 2.0] * 8 + [1e-9])  # who hardly ever wins
    assert [few.winner(key) for key in KEYS[:3000]] == [many.winner(key) for key in KEYS[:3000]]


def test_every_process_agrees() -> None:
    winner = Rendezvous(urls(40), [1.0] * 40).winner
    assert [winner(b"%d" % i) for i in range(8)] == [4, 0, 0, 33, 7, 18, 33, 27]
