"""Marked backends: trials, slow start, and panic when every one is marked."""

from __future__ import annotations

import pytest

from app.errors import NoLiveBackend
from app.routing import Backend, Route
from tests.balancing.picking import (
    NOBODY,
    NOW,
    A,
    B,
    C,
    Clock,
    balancer,
    frontend,
    mark,
    one_pick,
    route,
    shares,
)

# Back to life


def test_a_lapsed_mark_earns_one_trial_at_a_time() -> None:
    clock = Clock()
    some, where = balancer(clock), route(A, B, marks={A: mark(NOW + 10)})
    assert {one_pick(some, where) for _ in range(50)} == {B}
    clock.now += 11
    picks = [some.pick(where, NOBODY).url for _ in range(50)]
    assert picks == [A] + [B] * 49
    assert some.on_trial(where, Backend(A, 0, "http", "10.0.0.1", 80))


def test_a_trial_that_told_nothing_is_followed_by_another() -> None:
    some, where = balancer(), route(A, B, marks={A: mark(NOW - 10)})
    assert [one_pick(some, where) for _ in range(3)] == [A, A, A]


def test_workers_do_not_try_a_lapsed_mark_all_at_once() -> None:
    due = set()
    for seed in range(20):
        clock = Clock()
        some, where = balancer(clock, seed), route(A, B, marks={A: mark(NOW)})
        while one_pick(some, where) == B:
            clock.now += 0.01
        due.add(round(clock.now - NOW, 2))
    assert len(due) > 10
    assert max(due) <= 0.51


def test_a_backend_that_came_back_is_ramped_up() -> None:
    clock, list_ = Clock(), frontend(A, B, slowStart="100")
    some = balancer(clock)
    assert set(shares(some, Route(list_, {A: mark(NOW + 9)}), 10)) == {B}
    returned = Route(list_)
    seen = []
    for clock.now in (NOW, NOW + 50, NOW + 100):
        seen.append(shares(some, returned, 20_000)[A])
    assert seen == pytest.approx([0.05 / 1.05, 0.5 / 1.5, 0.5], abs=0.02)


def test_a_backend_that_was_never_marked_is_not_ramped() -> None:
    assert shares(balancer(slow_start=100.0), route(A, B), 5000)[A] > 0.45


# Panic


def test_when_all_are_dead_the_one_marked_longest_ago_is_tried() -> None:
    marks = {A: mark(NOW + 9, NOW - 1), B: mark(NOW + 9, NOW - 3), C: mark(NOW + 9, NOW - 2)}
    clock = Clock()
    some, where = balancer(clock), route(A, B, C, marks=marks)
    turns = []
    for clock.now in (NOW, NOW + 1, NOW + 2, NOW + 3):
        turns.append(one_pick(some, where))
    assert turns == [B, C, A, B]


def test_a_request_in_panic_tries_each_of_them() -> None:
    some, where = balancer(), route(A, B, marks={A: mark(NOW + 9, NOW - 3), B: mark(NOW + 9)})
    assert one_pick(some, where, NOBODY, B) == A
    assert one_pick(some, where, NOBODY, A) == B


def test_without_panic_it_is_hipaches_502() -> None:
    where = route(A, B, marks={A: mark(NOW + 9), B: mark(NOW + 9)})
    with pytest.raises(NoLiveBackend, match="Cannot find a valid backend"):
        balancer(panic=False).pick(where, NOBODY)
