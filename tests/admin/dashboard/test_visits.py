"""Cookies and forms of the dashboard."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from app.admin.dashboard.visits import COOKIE, LIFETIME, Visits

NOW = 1_800_000_000.0


def with_cookie(value: str) -> Headers:
    return Headers({"cookie": f"other=1; {COOKIE}={value}"})


def test_a_cookie_opens_until_its_end() -> None:
    visits = Visits("a-token")
    headers = with_cookie(cookie := visits.begin(NOW))
    assert visits.cookie_in(headers, NOW + LIFETIME - 2) == cookie
    assert visits.cookie_in(headers, NOW + LIFETIME + 2) is None
    assert visits.cookie_in(Headers({}), NOW) is None


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param("", id="empty"),
        pytest.param("1.2.3", id="made up"),
        pytest.param("é", id="not ASCII"),
        pytest.param(Visits("another-token").begin(NOW), id="of another token"),
        pytest.param("9" + Visits("a-token").begin(NOW), id="with another end"),
        pytest.param(Visits("a-token").form_token("x"), id="a form's token"),
    ],
)
def test_nothing_else_opens(forged: str) -> None:
    assert Visits("a-token").cookie_in(with_cookie(forged), NOW) is None


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        (None, True),
        ("http://127.0.0.1:8001", True),
        ("https://127.0.0.1:8001", True),
        ("http://127.0.0.1:9000", False),
        ("http://evil.example", False),
        ("null", False),
    ],
)
def test_a_form_must_come_from_a_page_of_ours(origin: str | None, own: bool) -> None:
    visits = Visits("a-token")
    cookie = visits.begin(NOW)
    fields = {"host": "127.0.0.1:8001"} | ({"origin": origin} if origin else {})
    assert visits.is_own_form(cookie, visits.form_token(cookie), Headers(fields)) is own
    for wrong in ("", visits.form_token(visits.begin(NOW))):
        assert not visits.is_own_form(cookie, wrong, Headers(fields))
