"""Whose frontends are checked when: by clocks that the tests set."""

from math import inf

import pytest

from app.checks.fleet import BEAT, LEASE_LASTS
from app.checks.shards import HURRY, LATE, SHARDS, Shards, shard_of
from app.stores.base import ShardLeases

HOST, URL, INTERVAL = "www.example.com", "http://10.0.0.1:80", 10.0
OURS = shard_of(HOST)


class Worker:
    """The shards of a worker, and its own clock."""

    def __init__(self, began: float) -> None:
        self.now = began
        self.shards = Shards(lambda: self.now)

    def gains(self, there: float, renewed: float) -> None:
        self.shards.renew(ShardLeases(there, {OURS: renewed}), self.now + 2.5)

    def checks_at(self, there: float, renewed: float) -> tuple[float, float | None]:
        """When it checks the backend next, and once more before, by the store's clock."""
        self.gains(there, renewed)
        ahead, undone = self.shards.moments(HOST, URL, INTERVAL)
        return there + ahead, None if undone is None else there + undone


def test_every_holder_checks_in_the_same_rhythm():
    first, _ = Worker(7.0).checks_at(1000.0, 1000.0)
    assert 1000 <= first < 1010
    for began, there in ((99.0, first + 12), (12345.6, first + 19.5)):
        following, _ = Worker(began).checks_at(there, there)
        assert following == pytest.approx(first + 20)


@pytest.mark.parametrize(
    ("renewed", "after"),
    [
        pytest.param(-3.0, 1.0, id="it fell due while nobody had the shard"),
        pytest.param(-25.0, 8.0, id="it did so more than once, and is checked once"),
        pytest.param(-1.5, None, id="the last holder has checked it"),
    ],
)
def test_what_was_left_undone_is_done_in_a_hurry(renewed, after):
    due, _ = Worker(0.0).checks_at(1000.0, 1000.0)
    now = due + 2.0
    following, undone = Worker(50.0).checks_at(now, now + renewed)
    assert following == pytest.approx(due + INTERVAL)
    if after is None:
        assert undone is None
    else:
        assert undone == pytest.approx(now + after / HURRY)


@pytest.mark.parametrize("lived", [0.01, BEAT / 2, BEAT], ids="dead after {} s".format)
@pytest.mark.parametrize("looked", [0.0, BEAT / 2, BEAT], ids="taken after {} s".format)
def test_no_check_of_a_dead_holder_is_left_out_or_later_than_its_lease_takes_to_move(lived, looked):
    renewed, died = 1000.0, 1000.0 + lived
    taken = renewed + LEASE_LASTS + looked
    shards = Worker(50.0)
    shards.gains(taken, renewed)
    for number in range(200):
        url = f"http://10.0.0.1:{number + 1}"
        ahead, undone = shards.shards.moments(HOST, url, INTERVAL)
        following = taken + ahead
        before = following - INTERVAL  # the last time at which it was due
        done = before if before <= died else taken + (inf if undone is None else undone)
        assert done - before <= LEASE_LASTS + BEAT
        assert following - done <= INTERVAL


def test_a_shard_that_moves_on_says_what_is_still_undone():
    worker = Worker(0.0)
    due, _ = worker.checks_at(1000.0, 1000.0)
    other = Worker(0.0)
    taken = due + 2.5
    _, undone = other.checks_at(taken, due - 0.1)
    assert other.shards.undone() == {OURS: due - 0.1}  # before the others are listed, too
    other.shards.caught_up(other.shards.held)
    other.now = undone - taken
    assert other.shards.undone() == {OURS: due - 0.1}
    other.now += LATE + 0.01
    assert other.shards.undone() == {}
    other.gains(taken + 4, taken + 3)  # it is not asked again about what it has
    assert other.shards.undone() == {}


def test_a_shard_without_backends_is_done_when_it_is_listed():
    worker = Worker(0.0)
    worker.gains(1000.0, 990.0)
    assert worker.shards.undone() == {OURS: 990.0}
    worker.shards.caught_up(worker.shards.held)
    assert worker.shards.undone() == {}


def test_a_shard_is_no_longer_ours_when_the_lease_may_be_over():
    worker = Worker(0.0)
    worker.gains(1000.0, 1000.0)
    assert worker.shards.has(HOST)
    worker.now += 2.5
    assert not worker.shards.has(HOST)
    worker.gains(1002.5, 1000.0)
    assert worker.shards.has(HOST)
    worker.shards.lose()
    assert not worker.shards.has(HOST)


def test_only_a_shard_that_is_new_asks_for_a_listing():
    worker = Worker(0.0)
    worker.gains(1000.0, 1000.0)
    assert worker.shards.gained.is_set()
    worker.shards.gained.clear()
    worker.gains(1000.8, 1000.0)
    assert not worker.shards.gained.is_set()


def test_a_backend_that_is_listed_later_was_not_left_undone():
    worker = Worker(0.0)
    worker.gains(1000.0, 980.0)
    assert worker.shards.moments(HOST, URL, INTERVAL)[1] is not None
    worker.shards.caught_up(worker.shards.held)
    assert worker.shards.moments(HOST, URL, INTERVAL)[1] is None


def test_frontends_spread_over_the_shards():
    count = [0] * SHARDS
    for number in range(100 * SHARDS):
        count[shard_of(f"{number}.example.com")] += 1
    assert min(count) > 50
    assert max(count) < 150
