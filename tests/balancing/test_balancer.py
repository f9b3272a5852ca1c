"""Picking: never a dead one while a live one is left, weights, trials, sticky clients, panic."""

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
from app.routing import Backend, Frontend, Mark, Route, parse_frontend

A, B, C = "http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"
NOW = 1_000_000.0
NOBODY = RequestFacts("192.0.2.1", [])

every_policy = pytest.mark.parametrize("policy", Policy)


class Clock:
    """A clock that moves when the test says so."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def balancer(clock: Clock | None = None, seed: int = 1, **options: object) -> Balancer:
    defaults = Options(**options)  # type: ignore[arg-type]
    return Balancer(defaults, random=Random(seed).random, clock=clock or Clock(), secret=b"s")


def frontend(*urls: str, **options: str) -> Frontend:
    return parse_frontend("example.com", ["id", *urls], options)


def mark(until: float, since: float = NOW - 60) -> Mark:
    return Mark(until, since, "test", "test")


def route(*urls: str, marks: dict[str, Mark] | None = None, **options: str) -> Route:
    return Route(frontend(*urls, **options), marks or {})


def client(number: int, *headers: tuple[bytes, bytes]) -> RequestFacts:
    return RequestFacts(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", [*headers])


def one_pick(some: Balancer, where: Route, facts: RequestFacts = NOBODY, *tried: str) -> str:
    """The URL of a pick whose request is over at once."""
    backend = some.pick(where, facts, tried)
    some.started(where, backend)
    some.finished(where, backend, seconds_to_head=0.01)
    return backend.url


def shares(some: Balancer, where: Route, picks: int = 100_000) -> dict[str, float]:
    counts = Counter(one_pick(some, where, client(i)) for i in range(picks))
    return {url: count / picks for url, count in counts.items()}


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


# Sticky clients


def visit(some: Balancer, where: Route, cookie: bytes = b"") -> tuple[str, bytes]:
    """One request of a browser: who served it, and the cookie it holds afterwards."""
    facts = RequestFacts("192.0.2.1", [(b"cookie", cookie)])
    backend = some.pick(where, facts)
    some.started(where, backend)
    some.finished(where, backend)
    field = some.cookie(where, backend, facts, secure=False)
    return backend.url, field.partition(b";")[0] if field else cookie


def test_a_sticky_client_stays_across_workers_and_edits_of_the_list() -> None:
    home, cookie = visit(balancer(sticky="sid"), route(A, B, C))
    other = balancer(seed=5, sticky="sid")
    for list_ in ([A, B, C], [C, B, A], [A, "http://new", B, C]):
        assert {visit(other, route(*list_), cookie)[0] for _ in range(20)} == {home}


def test_a_sticky_client_falls_over_together_and_comes_back() -> None:
    some = balancer(sticky="sid")
    home, cookie = visit(some, route(A, B, C))
    dead = route(A, B, C, marks={home: mark(NOW + 9)})
    refuges = {visit(some, dead, cookie) for _ in range(20)}
    assert len(refuges) == 1
    refuge, kept = refuges.pop()
    assert refuge != home
    assert visit(some, route(A, B, C), kept) == (home, cookie)


def test_a_sticky_client_of_a_removed_backend_gets_a_new_home() -> None:
    some = balancer(sticky="sid")
    home, cookie = visit(some, route(A, B, C))
    rest = [url for url in (A, B, C) if url != home]
    new_home, new_cookie = visit(some, route(*rest), cookie)
    assert new_cookie != cookie
    assert {visit(some, route(*rest), new_cookie)[0] for _ in range(20)} == {new_home}


def test_a_sticky_client_stays_while_its_backend_drains() -> None:
    some = balancer(sticky="sid")
    home, cookie = visit(some, route(A, B, C))
    draining = route(A, B, C, **{f"drain:{home}": "on"})
    assert {visit(some, draining, cookie)[0] for _ in range(20)} == {home}
    assert home not in {visit(some, draining)[0] for _ in range(50)}


def test_a_sticky_client_retries_elsewhere() -> None:
    some = balancer(sticky="sid")
    home, cookie = visit(some, route(A, B, C))
    facts = RequestFacts("192.0.2.1", [(b"cookie", cookie)])
    assert one_pick(some, route(A, B, C), facts, home) != home


def test_the_trial_is_not_held_by_a_sticky_client_of_somebody_else() -> None:
    some, home = balancer(sticky="sid"), B
    _, cookie = next(v for v in (visit(some, route(A, B)) for _ in range(99)) if v[0] == home)
    lapsed = route(A, B, marks={A: mark(NOW - 9)})
    assert visit(some, lapsed, cookie)[0] == B
    assert visit(some, lapsed)[0] == A


def test_a_forged_cookie_is_replaced() -> None:
    one, other = balancer(sticky="sid"), balancer(sticky="sid")
    other._setting = Balancer(random=Random(1).random, clock=Clock(), secret=b"x")._setting
    _, forged = visit(other, route(A, B, C))
    assert visit(one, route(A, B, C), forged)[1] != forged


def test_the_cookie_tells_nothing_and_is_not_for_scripts() -> None:
    some, where = balancer(), route(A, sticky="on")
    field = some.cookie(where, some.pick(where, NOBODY), NOBODY, secure=True)
    assert field is not None
    value, attributes = field.split(b";", 1)
    assert attributes == b" Path=/; HttpOnly; SameSite=Lax; Secure"
    assert b"10.0.0.1" not in value
    assert len(value) == len("hipache=") + 24


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
