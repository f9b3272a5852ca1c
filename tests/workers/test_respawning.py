"""When the successor of a dead worker may start."""

import pytest

from app.workers.respawning import Respawning


def test_deaths_at_once_wait_longer_each_time_up_to_a_bound() -> None:
    respawning = Respawning(early=5, longest=3)
    assert [respawning.delay(1, 0.1, "7") for _ in range(5)] == [0.5, 1, 2, 3, 3]


def test_a_death_after_a_good_while_waits_for_nothing_and_is_forgiven() -> None:
    respawning = Respawning(early=5, longest=30)
    respawning.delay(1, 1, "7")
    assert respawning.delay(1, 6, "7") == 0
    assert respawning.delay(1, 1, "7") == 0.5


def test_five_deaths_within_a_minute_are_named_with_their_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    respawning = Respawning()
    for _ in range(4):
        respawning.delay(1, 11.0, "SIGSEGV")
    assert not caplog.records
    respawning.delay(1, 11.0, "SIGSEGV")
    assert "worker keeps dying at once worker=1 deaths=5 status=SIGSEGV" in caplog.text


def test_a_slot_is_due_until_its_worker_has_started() -> None:
    respawning = Respawning()
    respawning.at(2, when=10.0)
    assert (respawning.due(9.9), respawning.due(10.0)) == ([], [2])
    respawning.started(2)
    assert (respawning.due(11.0), respawning.times) == ([], [])


def test_nothing_is_owed_to_slots_that_there_should_not_be() -> None:
    respawning = Respawning()
    respawning.at(2, when=10.0)
    respawning.at(3, when=10.0)
    respawning.limit(2)
    assert respawning.times == [10.0]
    assert respawning.due(10.0) == [2]
    respawning.limit(0)
    assert respawning.times == []
