"""Which backends the doctor names, from what workers keep of requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.doctor.findings import Commands, Severity
from app.doctor.unreachable import of_unreachable, tried, unreachable
from app.health import Outcome, Verdict
from app.recorder.stories import Kind, Story, Try
from app.routing import parse_frontend
from tests.backends import answer, answering, refusing

A, B = "h2c://10.0.0.1:50051", "http://10.0.0.2"
GONE, ANSWERED = Outcome.REFUSED, Outcome.ANSWERED
NOW = 1000.0


def story(number: int, *tries: tuple[str, Outcome]) -> Story:
    """A request at second `number`."""
    attempts = [
        Try(url, how, Verdict.NOTHING, "no way", 0.0, 0.1 if how is ANSWERED else None)
        for url, how in tries
    ]
    return Story(
        str(number), Kind.FAILED, number, "GET", "http", "a", "/", "1.1", "", "", "", 1, "a.test",
        attempts, 502, "", 0.1, 0, 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        ([story(1, (A, GONE))], {A: 1}),
        ([story(1, (A, GONE), (A, GONE)), story(2, (A, GONE))], {A: 2}),
        (
            [story(1, (A, Outcome.CONNECT_TIMEOUT)), story(2, (B, Outcome.TLS_FAILURE))],
            {A: 1, B: 1},
        ),
        ([story(1, (A, GONE), (B, ANSWERED))], {A: 1}),
        ([story(1, (A, GONE)), story(2, (A, ANSWERED))], {}),
        ([story(1, (A, GONE)), story(2, (A, ANSWERED)), story(3, (A, GONE))], {A: 1}),
        ([story(1, (A, Outcome.RESET)), story(2, (A, Outcome.ANSWER_TIMEOUT))], {}),
    ],
)
def test_the_last_word_counts(kept: list[Story], counts: dict[str, int]) -> None:
    assert {url: each.count for (_, url), each in unreachable(kept).items()} == counts


def test_a_frontend_that_has_lost_all_is_worse_than_one_that_has_others() -> None:
    lost = unreachable([story(990, (A, GONE))])

    def found(*urls: str, **options: str) -> list[tuple[Severity, str]]:
        frontend = parse_frontend("a.test", ["site", *urls], options)
        findings = of_unreachable(frontend, lost, NOW, Commands())
        return [(each.severity, each.problem) for each in findings]

    problem = f"{A} takes no connection: a request 10 s ago: no way"
    assert found(A) == [(Severity.ERROR, problem)]
    assert found(A, B) == [(Severity.WARNING, problem)]
    assert found(B) == []
    assert found(A, wake="http://10.0.0.9/up") == []


async def test_one_that_is_back_is_a_warning_though_no_request_has_shown_it(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with (
        refusing() as gone,
        answering(answer(b"hello")) as back,
        answering(answer(b"hello"), path=path),
    ):
        urls = [gone, back.url, f"unix:{path}", f"unix:{path}.none"]
        lost = unreachable([story(990, *((url, GONE) for url in urls))])
        tls = unreachable([story(990, (back.url, Outcome.TLS_FAILURE))])
        found = tried(lost)
        assert [found["a.test", url].back for url in urls] == [False, True, True, False]
        assert not tried(tls)["a.test", back.url].back
    frontend = parse_frontend("a.test", ["site", back.url], {})
    [finding] = of_unreachable(frontend, found, NOW, Commands())
    assert (finding.severity, finding.mend) == (Severity.WARNING, "")
    assert finding.problem == f"{back.url} took no connection: a request 10 s ago: no way"
