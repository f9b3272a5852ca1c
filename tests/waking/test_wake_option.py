"""The option `wake`: what it may say, what is refused before it is written, what is told of it."""

from __future__ import annotations

import pytest

from app.balancing.explain import explain
from app.balancing.explain_text import as_text
from app.config.deny_list import DenyList
from app.frontends.options import Options
from app.frontends.settings import settings_of
from app.routing import Mark, lookup_keys, parse_frontend
from app.stores.meant import check_change, check_meant
from app.stores.table import Entry, TableError
from app.upstream.destinations import Destinations

A = "http://10.0.0.1:80"
NOW = 1_000_000.0
WAKE = {"wake": "http://127.0.0.1:7000/start?token=hidden", "wakeTimeout": "45"}


def told(*urls: str, marks: dict[str, Mark] | None = None) -> list[str]:
    frontend = parse_frontend("a.test", ["site", *urls], WAKE)
    found = explain("a.test", lookup_keys("a.test"), frontend, marks or {}, Options(), now=NOW)
    return [*as_text(found, now=NOW)]


@pytest.mark.parametrize(
    ("urls", "marks", "why"),
    [
        pytest.param((), {}, "there is none: requests wait until one is awake", id="empty"),
        pytest.param(
            (A,), {A: Mark(NOW + 9, NOW, "refused", "web1")},
            "all are dead: requests wait until one is awake", id="dead",
        ),
        pytest.param((A,), {}, "the only live one", id="live"),
    ],
)  # fmt: skip
def test_explain_tells_what_a_request_would_do(
    urls: tuple[str, ...], marks: dict[str, Mark], why: str
) -> None:
    lines = told(*urls, marks=marks)
    assert "wake      POST http://127.0.0.1:7000/start, then requests wait up to 45 s" in lines
    assert lines[-1] == f"why       {why}"
    assert "hidden" not in " ".join(lines)


@pytest.mark.parametrize(
    "value", ["ftp://127.0.0.1/", "127.0.0.1:7000", "http://user:secret@127.0.0.1/", "http://", ""]
)
def test_no_message_quotes_a_url_that_cannot_be_used(value: str) -> None:
    settings = settings_of({"wake": value})
    assert settings.values.get("wake") is None
    assert "secret" not in " ".join(settings.problems)
    assert bool(settings.problems) is bool(value)  # empty is off, as for every switch


def test_a_site_says_otherwise_than_all_others() -> None:
    assert settings_of({"wake": "off"}).over(Options()).wake is None
    of_all = Options(wake_timeout=90)  # `balance.wakeTimeout`
    assert settings_of({"wake": WAKE["wake"]}).over(of_all).wake_timeout == 90
    assert settings_of(WAKE).over(of_all).wake_timeout == 45
    assert settings_of({"wakeTimeout": "601"}).problems == (
        "wakeTimeout '601' is no number from 0 to 600",
    )


@pytest.mark.parametrize("url", ["http://169.254.169.254/start", "http://[fd00:ec2::254]/start"])
def test_a_url_that_is_never_called_is_not_written(url: str) -> None:
    entry = Entry("site", (), {"wake": url}, {})
    objection = Destinations(DenyList()).objection
    with pytest.raises(TableError, match=r"a\.test: wake .* the proxy does not connect"):
        check_change("a.test", entry, None, objection)
    with pytest.raises(TableError, match="wake"):  # an import asks less, but this
        check_meant("a.test", entry, None, objection)
    check_change("a.test", entry, entry, objection)  # what is there keeps nobody from the rest
