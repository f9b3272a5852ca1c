"""What an active check asks, what it accepts, and how long it takes to believe."""

import pytest

from app.checks.verdicts import Probe, Target, parse_probe, problem_with
from app.config.structs import HealthCheck
from app.routing import parse_frontend


@pytest.mark.parametrize(
    ("raw", "config", "probe"),
    [
        pytest.param({}, HealthCheck(), Probe(), id="nothing said"),
        pytest.param(
            {"path": "/up", "status": "200", "body": "WORKING"},
            HealthCheck(method="HEAD"),
            Probe(path=b"/up", status=200, body=b"WORKING"),
            id="as tsuru writes it; a text needs a GET",
        ),
        pytest.param({"path": "up"}, HealthCheck(), Probe(path=b"/up"), id="no slash"),
        pytest.param(
            {"status": "0", "body": ""},
            HealthCheck(path="/h", status=204, body="x", method="HEAD"),
            Probe(path=b"/h", method=b"HEAD"),
            id="the hash may take the configuration's demands back",
        ),
        pytest.param(
            {"status": "", "path": ""},
            HealthCheck(path="/h", status=204),
            Probe(path=b"/h", status=204),
            id="an empty field says nothing",
        ),
        pytest.param({"grpc": ""}, HealthCheck(), Probe(service=""), id="gRPC, the whole server"),
        pytest.param({"grpc": "a.B"}, HealthCheck(), Probe(service="a.B"), id="a service of gRPC"),
    ],
)
def test_what_is_asked(raw: dict[str, str], config: HealthCheck, probe: Probe) -> None:
    assert parse_probe(raw, config) == (probe, ())


@pytest.mark.parametrize(
    "raw",
    [
        {"grpc": "x" * 128},
        {"path": "/a b"},
        {"path": "/\r\nx: y"},
        {"status": "fine"},
        {"status": "99"},
    ],
)
def test_a_mistake_in_the_hash_is_named_and_passed_over(raw: dict[str, str]) -> None:
    probe, problems = parse_probe(raw, HealthCheck(path="/h"))
    assert probe == Probe(path=b"/h")
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("probe", "status", "body", "wrong"),
    [
        (Probe(), 200, b"", None),
        (Probe(), 404, b"", None),
        (Probe(), 500, b"", "status 500"),
        (Probe(), 503, b"", "status 503"),
        (Probe(status=404), 404, b"", None),
        (Probe(status=200), 204, b"", "status 204, expected 200"),
        (Probe(body=b"OK"), 200, b"all OK here", None),
        (Probe(body=b"OK"), 200, b"down", "the answer lacks 'OK'"),
    ],
)
def test_which_answers_are_good(probe: Probe, status: int, body: bytes, wrong: str | None) -> None:
    assert problem_with(probe, status, body) == wrong


def target() -> Target:
    frontend = parse_frontend("x", ["id", "http://a", "http://b"])
    return Target(frontend, frontend.backends[0], Probe(), rise=2, fall=3)


def test_it_takes_fall_bad_answers_in_a_row_to_be_ill() -> None:
    one = target()
    states = []
    for good in (False, False, True, False, False, False):
        one.passed(0) if good else one.failed()
        states.append(one.unhealthy)
    assert states == [False, False, False, False, False, True]


def test_it_takes_rise_good_answers_after_the_mark_to_be_well() -> None:
    one = target()
    states = []
    for now in (90, 99, 101, 102):
        one.passed(now)
        states.append(one.healthy_since(100))
    assert states == [False, False, False, True]
    one.failed()
    assert not one.healthy_since(0)
