"""Picking: shares by policy and weight, and never a dead one while a live one is left."""

from __future__ import annotations

import gc
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.balancing.balancer import Balancer, RequestFacts
from app.errors import InvalidBackend, NoLiveBackend
from app.frontends.options import Options, Policy
from app.routing import Backend, Mark, Route, parse_frontend
from tests.balancing.picking import (
    NOBODY,
    NOW,
    A,
    B,
    C,
    Clock,
    balancer,
    client,
    every_policy,
    frontend,
    mark,
    one_pick,
    route,
    shares,
)

# The policies


@every_policy
def test_equal_backends_get_equal_shares(policy: Policy) -> None:
    assert shares(balancer(policy=policy), route(A, B, C)) == pytest.approx(
        dict.fromkeys((A, B, C), 1 / 3), abs=0.02
    )


@every_policy
def test_shares_are_the_weights(policy: Policy) -> None:
    where = route(A, B, C, **{f"weight:{A}": "5", f"weight:{B}": "3", f"weight:{C}": "2"})
    assert shares(balancer(policy=policy), where) == pytest.approx(
        {A: 0.5, B: 0.3, C: 0.2}, abs=0.02
    )


def test_round_robin_takes_turns() -> None:
    some, where = balancer(policy=Policy.ROUND_ROBIN), route(A, B, C)
    turns = [one_pick(some, where) for _ in range(9)]
    assert turns == turns[:3] * 3
    assert set(turns) == {A, B, C}


def test_least_conn_keeps_the_queues_even() -> None:
    """Requests end in an order that has nothing to do with who serves them."""
    some, where, random = balancer(policy=Policy.LEAST_CONN), route(A, B, C), Random(2)
    running: list[Backend] = []
    for _ in range(300):
        running.append(some.pick(where, NOBODY))
        some.started(where, running[-1])
    for _ in range(5000):
        some.finished(where, running.pop(random.randrange(len(running))))
        running.append(some.pick(where, NOBODY))
        some.started(where, running[-1])
    assert max(Counter(b.url for b in running).values()) <= 105


def test_least_conn_leaves_alone_who_does_not_answer() -> None:
    some, where = balancer(policy=Policy.LEAST_CONN), route(A, B)
    stuck = Backend(A, 0, "http", "10.0.0.1", 80)
    for _ in range(1000):
        backend = some.pick(where, NOBODY)
        some.started(where, backend)
        if backend.url == B:
            some.finished(where, backend)
    assert some.in_flight(where, stuck) == 1


def test_least_time_prefers_the_quick_and_tries_the_slow_again() -> None:
    clock, served = Clock(), Counter[str]()
    some, where = balancer(clock, policy=Policy.LEAST_TIME), route(A, B)
    seconds = {A: 0.2, B: 0.01}
    for number in range(4000):
        if number == 2000:
            seconds[A] = 0.001  # it recovers
            assert served[B] > 1800
            served.clear()
        clock.now += 0.05
        backend = some.pick(where, NOBODY)
        served[backend.url] += 1
        some.started(where, backend)
        some.finished(where, backend, seconds_to_head=seconds[backend.url])
    assert served[A] > 1200


def test_least_time_does_not_take_silence_for_speed() -> None:
    some, where = balancer(policy=Policy.LEAST_TIME), route(A, B)
    for _ in range(100):
        backend = some.pick(where, NOBODY)
        some.started(where, backend)
        if backend.url == B:
            some.finished(where, backend, seconds_to_head=0.01)
    assert some.in_flight(where, Backend(A, 0, "http", "10.0.0.1", 80)) == 1


def test_a_client_address_stays_where_it_is() -> None:
    one, other = (balancer(seed=seed, policy=Policy.HASH) for seed in (1, 2))
    picks = [(one_pick(one, route(A, B, C), client(i)), i) for i in range(200)]
    assert picks == [(one_pick(other, route(C, A, B), client(i)), i) for i in range(200)]


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("header:X-User", [(b"x-user", b"%d")]),
        ("cookie:sid", [(b"accept", b"*/*"), (b"cookie", b"a=1; sid=%d;b=2")]),
        ("cookie:sid", [(b"cookie", b"a=1"), (b"cookie", b"sid=%d")]),
    ],
)
def test_a_header_or_cookie_decides(key: str, fields: list[tuple[bytes, bytes]]) -> None:
    some, where = balancer(), route(A, B, C, policy="hash", hash=key)

    def facts(user: int, address: str) -> RequestFacts:
        return RequestFacts(address, [(n, v.replace(b"%d", b"%d" % user)) for n, v in fields])

    at = {user: one_pick(some, where, facts(user, "192.0.2.1")) for user in range(100)}
    assert at == {user: one_pick(some, where, facts(user, "192.0.2.9")) for user in at}
    assert set(at.values()) == {A, B, C}


def test_without_the_header_the_address_decides() -> None:
    some, where = balancer(), route(A, B, C, policy="hash", hash="header:x-user")
    assert {one_pick(some, where, client(i)) for i in range(100)} == {A, B, C}


# What may be picked


@st.composite
def situations(draw: st.DrawFn) -> tuple[Route, Options, list[str]]:
    urls = draw(st.lists(st.sampled_from([f"http://b{i}" for i in range(30)]), min_size=1))
    until = st.sampled_from([NOW - 100.0, NOW + 100.0])
    marks = draw(st.dictionaries(st.sampled_from(urls), until.map(mark)))
    options = Options(
        policy=draw(st.sampled_from(Policy)),
        sticky=draw(st.sampled_from([None, "sid"])),
        panic=draw(st.booleans()),
        weights=draw(st.dictionaries(st.sampled_from(urls), st.floats(0, 100))),
        drained=draw(st.frozensets(st.sampled_from(urls))),
        backups=draw(st.frozensets(st.sampled_from(urls))),
    )
    return route(*urls, marks=marks), options, draw(st.lists(st.sampled_from(urls)))


@given(situations(), st.integers(0, 1000))
def test_no_dead_one_while_a_live_one_is_left(
    situation: tuple[Route, Options, list[str]], seed: int
) -> None:
    where, options, tried = situation
    some = Balancer(options, random=Random(seed).random, clock=Clock())
    live = {
        b.url
        for b in where.frontend.backends
        if b.url not in where.marks and b.url not in options.drained
        if options.weights.get(b.url, 1)
    }
    dead = {url for url, m in where.marks.items() if m.until > NOW}
    for _ in range(5):
        try:
            backend = some.pick(where, NOBODY, tried)
        except NoLiveBackend:
            assert not live
            assert not options.panic
            continue
        assert backend in where.frontend.backends
        some.started(where, backend)
        if live - set(tried):
            assert backend.url not in dead | set(tried)
        elif live:
            assert backend.url in live or (backend.url not in tried)


@every_policy
def test_a_retry_goes_to_another_one(policy: Policy) -> None:
    some, where = balancer(policy=policy), route(A, B, C)
    assert {one_pick(some, where, client(i), A, C) for i in range(50)} == {B}
    assert one_pick(some, where, NOBODY, A, B, C) in {A, B, C}


def test_a_backup_serves_only_when_nobody_else_is_left() -> None:
    options = {f"backup:{C}": "on"}
    some = balancer()
    assert set(shares(some, route(A, B, C, **options), 200)) == {A, B}
    both_dead = {A: mark(NOW + 9), B: mark(NOW + 9)}
    assert set(shares(some, route(A, B, C, marks=both_dead, **options), 200)) == {C}
    assert one_pick(some, route(A, B, C, **options), NOBODY, A, B) == C


@pytest.mark.parametrize("name", ["drain", "weight"])
def test_a_drained_one_gets_no_new_clients(name: str) -> None:
    where = route(A, B, **{f"{name}:{A}": "1" if name == "drain" else "0"})
    assert set(shares(balancer(), where, 200)) == {B}


def test_a_drained_one_is_better_than_a_dead_one() -> None:
    where = route(A, B, marks={B: mark(NOW + 9)}, **{f"drain:{A}": "on"})
    assert one_pick(balancer(), where) == A
    with pytest.raises(NoLiveBackend):
        balancer(panic=False).pick(where, NOBODY)


@pytest.mark.parametrize(("urls", "error"), [((), NoLiveBackend), (("http://",), InvalidBackend)])
def test_a_list_without_backends_is_an_error(urls: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        balancer().pick(route(*urls), NOBODY)


def test_wrong_options_are_reported_once_and_traffic_goes_on() -> None:
    said: list[str] = []
    some = Balancer(
        random=Random(1).random, clock=Clock(), report=lambda f, problem: said.append(problem)
    )
    list_ = frontend(A, B, policy="fastest")
    for _ in range(3):
        assert set(shares(some, Route(list_), 50)) == {A, B}
    assert len(said) == 1


# What is remembered


def test_load_survives_an_edit_and_a_mark() -> None:
    some, old = balancer(), route(A, B)
    backend = some.pick(old, NOBODY)
    some.started(old, backend)
    edited = route(A, B, C, marks={C: mark(NOW + 9)})
    some.pick(edited, NOBODY)
    assert some.in_flight(edited, backend) == 1
    some.finished(old, backend)
    assert some.in_flight(edited, backend) == 0


@pytest.mark.parametrize(
    "marks", [{}, {A: mark(NOW + 60)}, {A: mark(NOW - 9)}], ids=["", "dead", "due"]
)
@every_policy
def test_to_begin_is_to_pick_and_to_start(policy: Policy, marks: dict[str, Mark]) -> None:
    one, other, where = balancer(policy=policy), balancer(policy=policy), route(A, B, marks=marks)
    for _ in range(6):
        begun, picked = one.begin(where, NOBODY), other.pick(where, NOBODY)
        other.started(where, picked)
        assert begun == picked
        assert dict(one.loads()) == dict(other.loads())


def test_lists_that_share_a_url_share_its_load() -> None:
    some, one = balancer(), route(A)
    other = Route(parse_frontend("alias.example.com", ["id", A]))
    backend = some.pick(one, NOBODY)
    some.started(one, backend)
    some.pick(other, NOBODY)
    assert some.in_flight(other, backend) == 1


def test_what_is_gone_from_the_cache_is_forgotten() -> None:
    some = balancer()
    for number in range(1000):
        one_pick(some, Route(parse_frontend(f"host{number}", ["id", A, B])))
    gc.collect()
    assert len(some._plans) <= 1
    assert len(some._rotations) < 100
