"""Sticky clients: the cookie, and the backend it leads to."""

from __future__ import annotations

from random import Random

from app.balancing.balancer import Balancer, RequestFacts
from app.routing import Route
from tests.balancing.picking import NOBODY, NOW, A, B, C, Clock, balancer, mark, one_pick, route


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
    fallbacks = {visit(some, dead, cookie) for _ in range(20)}
    assert len(fallbacks) == 1
    fallback, kept = fallbacks.pop()
    assert fallback != home
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
    other._inputs = Balancer(random=Random(1).random, clock=Clock(), secret=b"x")._inputs
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
