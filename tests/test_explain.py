"""Every step of an explanation, for every state that a backend can be in."""

import doctest

import pytest

from app import explain as module
from app.explain import Explanation, as_text, explain, not_found
from app.policies.options import Options
from app.routing import Mark, lookup_keys, parse_frontend

A, B, C = "http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"
NOW = 1_000_000.0


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(module).failed == 0


def mark(until: float, since: float = NOW - 90) -> Mark:
    return Mark(until, since, "connection refused", "web1:77", 2)


def explained(*urls: str, marks: dict[str, Mark] | None = None, **options: str) -> Explanation:
    frontend = parse_frontend("*.example.com", ["site", *urls], options)
    keys = lookup_keys("www.example.com")
    return explain("www.example.com", keys, frontend, marks or {}, Options(), now=NOW)


def test_the_keys_that_were_tried_come_in_order() -> None:
    found = explained(A)
    assert (found.tried, found.matched) == (("www.example.com",), "*.example.com")
    assert not_found("a.b", lookup_keys("a.b")).tried == ("a.b", "*.b", "*")


@pytest.mark.parametrize(
    ("options", "marks", "states", "choice"),
    [
        ({}, {}, ["live", "live"], (A, B)),
        ({}, {A: mark(NOW + 9)}, ["dead", "live"], (B,)),
        ({}, {A: mark(NOW - 9)}, ["on trial", "live"], (B,)),
        ({f"drain:{A}": "on"}, {}, ["drained", "live"], (B,)),
        ({f"weight:{A}": "0"}, {}, ["drained", "live"], (B,)),
        ({f"backup:{A}": "on"}, {}, ["backup", "live"], (B,)),
        ({f"backup:{A}": "on"}, {B: mark(NOW + 9)}, ["backup", "dead"], (A,)),
        ({f"drain:{A}": "on"}, {B: mark(NOW + 9)}, ["drained", "dead"], (A,)),
        ({}, {A: mark(NOW + 9, NOW - 1), B: mark(NOW + 9, NOW - 2)}, ["dead", "dead"], (B,)),
        ({"panic": "off"}, {A: mark(NOW + 9), B: mark(NOW + 9)}, ["dead", "dead"], ()),
    ],
)
def test_the_choice_follows_from_the_states(
    options: dict[str, str], marks: dict[str, Mark], states: list[str], choice: tuple[str, ...]
) -> None:
    found = explained(A, B, marks=marks, **options)
    assert [state.state for state in found.backends] == states
    assert found.choice == choice


def test_bad_entries_keep_their_place_in_the_list() -> None:
    found = explained(A, "http://", B)
    assert [(state.index, state.state) for state in found.backends] == [
        (0, "live"),
        (1, "unusable"),
        (2, "live"),
    ]


def test_nothing_but_bad_entries_is_hipaches_502() -> None:
    assert explained("http://").why == "502 backend is invalid"
    assert explained().why == "502 Cannot find a valid backend"


def test_the_text_tells_each_step() -> None:
    found = explained(
        A, B, C, marks={A: mark(NOW + 30)}, policy="least_conn", sticky="sid",
        slowStart="soon", **{f"weight:{C}": "3"},
    )  # fmt: skip
    assert list(as_text(found, now=NOW)) == [
        "host      www.example.com",
        "          frontend:www.example.com  none",
        "matched   frontend:*.example.com  site",
        "policy    least_conn, sticky by cookie sid",
        "remark    option passed over: slowStart 'soon' is no number from 0 to 86400",
        f"backend 0 {A}  dead, weight 1, in flight ?, since 90 s, for 30 s more, failures 2, "
        "by web1:77, connection refused",
        f"backend 1 {B}  live, weight 1, in flight ?",
        f"backend 2 {C}  live, weight 3, in flight ?",
        f"choice    {B} 25.0%, {C} 75.0%",
        "why       of two at random, the one with fewer requests in flight",
    ]
