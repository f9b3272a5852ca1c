"""How long a name waits after failures."""

from __future__ import annotations

import pytest

from app.stores.issuance import HOUR, IssuanceState, Wish
from app.tls.acme.backoff import LONGEST, after_failure, budget, may_try, postponed


def failing(times: int) -> tuple[list[float], IssuanceState]:
    """Fails whenever it may be tried again; when that was, and what is remembered."""
    now, state, tried = 0.0, None, list[float]()
    for _ in range(times):
        state = after_failure(state, "no", now=now)
        tried.append(now)
        now = state.not_before
    assert state is not None
    return tried, state


def test_it_waits_longer_each_time_but_a_day_at_most() -> None:
    tried, _ = failing(12)
    assert tried[:5] == [0, 60, 300, 1260, 5100]
    assert tried[-1] - tried[-2] == LONGEST


def test_no_hour_has_more_than_five_failures_even_if_a_person_insists() -> None:
    now, state, tried = 0.0, None, list[float]()
    for _ in range(4 * 60):
        if may_try(state, now=now, insists=True):
            state = after_failure(state, "no", now=now)
            tried.append(now)
        now += 60
    assert len(tried) > 5
    assert all(sum(at <= each < at + HOUR for each in tried) <= 5 for at in tried)


def test_it_waits_as_long_as_the_ca_says() -> None:
    state = after_failure(None, "rateLimited", now=0.0, retry_after=7200.0)
    assert not may_try(state, now=7199.0, insists=False)
    assert may_try(state, now=7200.0, insists=False)


@pytest.mark.parametrize(
    ("per_hour", "invented", "invented_again", "own", "everything"),
    [(50, 30, 35, 40, 50), (5, 3, 3, 4, 5), (4, 2, 2, 3, 4), (3, 1, 2, 2, 3), (1, 1, 1, 1, 1)],
)
def test_what_clients_invent_does_not_use_up_the_orders_of_others(
    per_hour: int, invented: int, invented_again: int, own: int, everything: int
) -> None:
    assert budget(per_hour, Wish.CLIENT, own=False) == invented
    assert budget(per_hour, None, own=False) == invented_again
    assert budget(per_hour, Wish.CLIENT, own=True) == own
    assert budget(per_hour, None, own=True) == everything
    for wish in (Wish.ORDER, Wish.RENEW):
        assert budget(per_hour, wish, own=False) == everything


def test_what_is_not_its_fault_does_not_count() -> None:
    _, state = failing(2)
    later = postponed(state, "the CA is away", until=9e9)
    assert (later.failures, later.not_before, later.error) == (
        state.failures,
        9e9,
        "the CA is away",
    )
