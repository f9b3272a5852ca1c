"""The options `maintenance…`: nobody can mistype a site open."""

from __future__ import annotations

import pytest

from app.frontends.maintenance import DEFAULT_MESSAGE, MAX_MESSAGE
from app.frontends.protection import Protection, parse_protection


def parsed(**fields: str) -> tuple[Protection | None, tuple[str, ...]]:
    return parse_protection(fields)


@pytest.mark.parametrize("value", ["off", "OFF", " off\n"])
def test_off_leaves_the_site_open(value: str) -> None:
    assert parsed(maintenance=value, maintenanceAllow="10.0.0.0/8") == (None, ())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("on", DEFAULT_MESSAGE),
        ("", DEFAULT_MESSAGE),
        ("onn", "onn"),
        ("Back at noon", "Back at noon"),
        ("x" * 1000, "x" * MAX_MESSAGE),
    ],
)
def test_everything_else_shuts_it(value: str, message: str) -> None:
    protection, problems = parsed(maintenance=value)
    assert problems == ()
    assert protection is not None
    assert protection.maintenance is not None
    assert protection.maintenance.message == message
    assert protection.maintenance.retry_after == 300
    assert not protection.maintenance.allow.match("127.0.0.1")


def test_the_owners_are_let_in_and_visitors_told_when_to_come() -> None:
    protection, problems = parsed(
        maintenanceAllow="10.0.0.0/8, 127.0.0.1", maintenance="on", maintenanceRetry="7200"
    )
    assert problems == ()
    assert protection is not None
    assert protection.maintenance is not None
    assert protection.maintenance.retry_after == 7200
    assert protection.maintenance.allow.match("10.1.2.3")
    assert list(protection.in_words()) == [
        f"under maintenance but from 10.0.0.0/8 127.0.0.1/32: {DEFAULT_MESSAGE}"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("maintenanceRetry", "soon"),
        ("maintenanceRetry", "0"),
        ("maintenanceRetry", "999999"),
        ("maintenanceAllow", "home"),
        ("maintenanceAllow", ""),
    ],
)
def test_a_mistake_is_told_and_the_site_stays_shut(name: str, value: str) -> None:
    protection, problems = parse_protection({name: value, "maintenance": "on"})
    assert protection is not None
    assert protection.maintenance is not None
    assert not protection.maintenance.allow.match("127.0.0.1")
    assert not protection.unreadable
    (problem,) = problems
    assert problem.startswith(f"{name}: ")


def test_a_pause_is_some_seconds_and_a_mistake_is_none() -> None:
    paused, told = parse_protection({"pause": "30"})
    assert paused is not None
    assert (paused.pause, told) == (30, ())
    assert list(paused.in_words()) == ["paused: requests wait up to 30 s for the site to go on"]
    assert parse_protection({"pause": "0"}) == (None, ())
    for wrong in ("on", "601", "-1", "1.5", ""):
        assert parse_protection({"pause": wrong}) == (
            None, ("pause: expected whole seconds up to 600",),
        )  # fmt: skip
