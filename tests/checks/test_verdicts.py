"""What an active check asks, what it accepts, and how long it takes to believe."""

import pytest

from app.checks.verdicts import Patient, Question, question_of, what_is_wrong
from app.config.structs import HealthCheck
from app.routing import parse_frontend


@pytest.mark.parametrize(
    ("raw", "config", "question"),
    [
        pytest.param({}, HealthCheck(), Question(), id="nothing said"),
        pytest.param(
            {"path": "/up", "status": "200", "body": "WORKING"},
            HealthCheck(method="HEAD"),
            Question(path=b"/up", status=200, body=b"WORKING"),
            id="as tsuru writes it; a text needs a GET",
        ),
        pytest.param({"path": "up"}, HealthCheck(), Question(path=b"/up"), id="no slash"),
        pytest.param(
            {"status": "0", "body": ""},
            HealthCheck(path="/h", status=204, body="x", method="HEAD"),
            Question(path=b"/h", method=b"HEAD"),
            id="the hash may take the configuration's demands back",
        ),
        pytest.param(
            {"status": "", "path": ""},
            HealthCheck(path="/h", status=204),
            Question(path=b"/h", status=204),
            id="an empty field says nothing",
        ),
    ],
)
def test_what_is_asked(raw: dict[str, str], config: HealthCheck, question: Question) -> None:
    assert question_of(raw, config) == (question, ())


@pytest.mark.parametrize(
    "raw", [{"path": "/a b"}, {"path": "/\r\nx: y"}, {"status": "fine"}, {"status": "99"}]
)
def test_a_mistake_in_the_hash_is_named_and_passed_over(raw: dict[str, str]) -> None:
    question, problems = question_of(raw, HealthCheck(path="/h"))
    assert question == Question(path=b"/h")
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("question", "status", "body", "wrong"),
    [
        (Question(), 200, b"", None),
        (Question(), 404, b"", None),
        (Question(), 500, b"", "status 500"),
        (Question(), 503, b"", "status 503"),
        (Question(status=404), 404, b"", None),
        (Question(status=200), 204, b"", "status 204, expected 200"),
        (Question(body=b"OK"), 200, b"all OK here", None),
        (Question(body=b"OK"), 200, b"down", "the answer lacks 'OK'"),
    ],
)
def test_which_answers_are_good(
    question: Question, status: int, body: bytes, wrong: str | None
) -> None:
    assert what_is_wrong(question, status, body) == wrong


def patient() -> Patient:
    frontend = parse_frontend("x", ["id", "http://a", "http://b"])
    return Patient(frontend, frontend.backends[0], Question(), rise=2, fall=3)


def test_it_takes_fall_bad_answers_in_a_row_to_be_ill() -> None:
    one = patient()
    states = []
    for good in (False, False, True, False, False, False):
        one.answered_well(0) if good else one.answered_badly()
        states.append(one.ill)
    assert states == [False, False, False, False, False, True]


def test_it_takes_rise_good_answers_after_the_mark_to_be_well() -> None:
    one = patient()
    states = []
    for now in (90, 99, 101, 102):
        one.answered_well(now)
        states.append(one.well_since(100))
    assert states == [False, False, False, True]
    one.answered_badly()
    assert not one.well_since(0)
