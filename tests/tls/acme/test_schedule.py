"""When certificates are renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme

from app.stores.issuance import Standing
from app.tls.acme.schedule import LOOK_AGAIN, REST, RenewalSchedule, renewal_time

CA, DIRECTORY = trustme.CA(), "https://127.0.0.1/directory"
NOW = datetime.now(UTC).timestamp()
DAY = 86_400.0


def standing(*, begins: float = 0.0, days: float = 90.0, mark: str = DIRECTORY) -> Standing:
    start = datetime.fromtimestamp(NOW + begins * DAY, UTC)
    end = start + timedelta(days=days)
    cert = CA.issue_cert("a.test", not_before=start, not_after=end)
    return Standing(cert.cert_chain_pems[0].bytes().decode(), mark)


@pytest.fixture
def schedule() -> RenewalSchedule:
    return RenewalSchedule(DIRECTORY)


@pytest.mark.parametrize("days", [90.0, 45.0, 6.0])
def test_at_two_thirds_of_its_life(schedule: RenewalSchedule, days: float) -> None:
    schedule.seen("a.test", standing(days=days))
    assert schedule.due(NOW + 0.66 * days * DAY) == []
    assert schedule.due(NOW + 0.7 * days * DAY) == ["a.test"]


def test_names_are_spread() -> None:
    times = [renewal_time(f"n{number}.test", 0.0, 90 * DAY) for number in range(100)]
    assert max(times) - min(times) > 2 * DAY


def test_what_ends_first_comes_first_and_what_is_replaced_is_judged_anew(
    schedule: RenewalSchedule,
) -> None:
    schedule.seen("b.test", standing(begins=-88))
    schedule.seen("a.test", standing(begins=-89))
    schedule.seen("*.wild.test", standing(begins=-89))
    schedule.seen("c.test", Standing("no certificate"))
    assert schedule.due(NOW) == ["a.test", "b.test"]
    schedule.seen("a.test", standing())
    schedule.seen("b.test", None)
    assert schedule.due(NOW) == []


def test_one_that_cannot_be_renewed_is_looked_at_later(schedule: RenewalSchedule) -> None:
    schedule.seen("a.test", standing(begins=-89))
    schedule.put_off("a.test", NOW + LOOK_AGAIN)
    assert schedule.due(NOW) == []
    assert schedule.due(NOW + LOOK_AGAIN) == ["a.test"]


def test_a_ca_whose_clock_is_wrong_is_not_asked_for_one_after_the_other(
    schedule: RenewalSchedule,
) -> None:
    schedule.seen("a.test", standing(begins=-89))
    schedule.ordered("a.test", NOW)
    schedule.seen("a.test", standing(begins=-88))
    assert schedule.due(NOW) == []
    assert schedule.due(NOW + REST) == ["a.test"]
    schedule.advised("a.test", NOW - DAY, NOW)
    assert schedule.due(NOW) == []
    schedule.seen("b.test", standing())
    schedule.ordered("b.test", NOW)
    assert schedule.due(NOW + 59 * DAY) == ["a.test"]


def test_the_ca_is_asked_about_its_own_and_what_it_says_counts(schedule: RenewalSchedule) -> None:
    schedule.seen("hand.test", standing(mark=""))
    schedule.seen("other.test", standing(mark="https://127.0.0.1/another"))
    schedule.seen("ended.test", standing(begins=-91))
    schedule.seen("a.test", standing())
    assert schedule.to_ask(NOW) == "a.test"
    schedule.advised("a.test", NOW + 5, NOW + 60)
    assert schedule.to_ask(NOW) is None
    assert schedule.to_ask(NOW + 60) == "a.test"
    assert schedule.due(NOW + 5) == ["ended.test", "a.test"]
    schedule.no_advice(NOW)
    assert schedule.to_ask(NOW + 60) is None


def test_what_is_gone_is_forgotten(schedule: RenewalSchedule) -> None:
    seen = standing()
    schedule.seen("a.test", seen)
    schedule.seen("b.test", seen)
    assert schedule.is_known("a.test", seen)
    schedule.keep_only(["b.test"])
    assert not schedule.is_known("a.test", seen)
    assert len(schedule) == 1
