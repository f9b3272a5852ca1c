"""Who may say what: names in each spelling, from strangers and from proxies of ours."""

import doctest
import re
from pathlib import Path

import pytest

from app.errors import LoopDetected
from app.fields import names
from app.fields.headers import RawHeaders, request_headers
from app.fields.names import CLAIMS, FieldNames
from app.fields.passing import MAX_NAME, MAX_NAMES, STRANGERS, Passing, Rule
from app.fields.via import HopFields
from tests.fields.spellings import EACH_CLAIM, spellings

PAGE = (Path(__file__).parents[2] / "docs/requests.md").read_text()
TRUSTED = Passing(FieldNames.parse(CLAIMS), trusted=True)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(names).failed == 0


def test_the_page_has_the_whole_list() -> None:
    table = PAGE.partition("### Fields that strangers cannot send")[2].partition(
        "A backend in CGI"
    )[0]
    cells = [row.rsplit("|", 2)[1] for row in table.splitlines() if row.startswith("|")]
    assert sorted(re.findall(r"`([^`]+)`", "".join(cells))) == sorted(CLAIMS)


@pytest.mark.parametrize("name", EACH_CLAIM)
def test_a_stranger_claims_nothing_in_any_spelling(name: bytes) -> None:
    assert {STRANGERS[spelling] for spelling in spellings(name)} == {Rule.STOP}


@pytest.mark.parametrize("name", sorted(set(EACH_CLAIM) - {b"proxy"}))
def test_a_proxy_of_ours_answers_for_one_spelling_only(name: bytes) -> None:
    passing = {each for each in spellings(name) if TRUSTED[each] is Rule.PASS}
    ours = name in names.FORWARDED  # written anew, from what the proxy says
    assert passing == (set() if ours else {name})


@pytest.mark.parametrize(
    "name", sorted(names.FORWARDED | names.HOP_BY_HOP | {b"x-debug", b"proxy", b"content-length"})
)
def test_what_is_ours_passes_from_nobody(name: bytes) -> None:
    for spelling in set(spellings(name)) - {b"content-length", b"transfer-encoding"}:
        assert request_headers([(spelling, b"x")], [], TRUSTED) == []


@pytest.mark.parametrize(
    "name",
    [
        b"accept", b"authorization", b"cookie", b"x-forwardedness", b"forward", b"x-realip",
        b"x-http-method-override", b"x-original-name", b"proxying", b"x-csrf-token", b"traceparent",
        b"x_other", b"content-type", b"sec-websocket-key", b"x-hub-signature",
    ],
)  # fmt: skip
def test_other_fields_pass(name: bytes) -> None:
    assert STRANGERS[name] is TRUSTED[name] is Rule.PASS


def test_the_list_can_be_made_longer() -> None:
    passing = Passing(FieldNames.parse([*CLAIMS, "X-User", "X-Auth-*", "Cookie"]))
    for name in (b"x-user", b"x_user", b"x-auth-a", b"x.auth_b-c", b"cookie", b"x-real-ip"):
        assert passing[name] is Rule.STOP
    assert passing[b"x-auth"] is passing[b"x-users"] is Rule.PASS


def test_what_is_remembered_has_an_end() -> None:
    passing = Passing(FieldNames())
    for number in range(MAX_NAMES + 10):
        assert passing[b"x-%d" % number] is Rule.PASS
    assert passing[b"x" * (MAX_NAME + 1)] is Rule.PASS
    assert len(passing) == 10


def test_without_via_loops_are_cut_by_another_field() -> None:
    ours = [HopFields(b"hipache-me", via=False)["1.1"]]
    passing = Passing(FieldNames(), via=False)
    came: RawHeaders = [(b"via", b"1.1 other"), (b"cdn-loop", b"other"), (b"a", b"1")]
    once = request_headers(came, ours, passing)
    assert once == [(b"cdn-loop", b"other"), (b"a", b"1"), (b"cdn-loop", b"me")]
    twice = request_headers(once, ours, passing)
    with pytest.raises(LoopDetected):
        request_headers(twice, ours, passing)


def test_a_proxy_with_via_leaves_the_other_field_alone() -> None:
    came: RawHeaders = [(b"cdn-loop", b"me"), (b"via", b"1.1 other")]
    assert request_headers(came, []) == came
