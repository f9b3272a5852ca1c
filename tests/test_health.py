"""What outcomes say about a backend, and which requests may be tried again."""

from itertools import product

import pytest

from app import errors
from app.errors import UpstreamError
from app.health import (
    Outcome,
    Verdict,
    can_lose_one,
    can_lose_one_by_evidence,
    cause_of,
    may_retry,
    next_mark,
    outcome_of,
    verdict,
)
from app.routing import Mark, parse_frontend

UPSTREAM_ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UpstreamError) and kind is not UpstreamError
]


@pytest.mark.parametrize(
    ("error", "outcome", "says"),
    [
        (errors.UpstreamUnreachable(), Outcome.REFUSED, Verdict.DEAD),
        (errors.UpstreamConnectTimeout(), Outcome.CONNECT_TIMEOUT, Verdict.DEAD),
        (errors.UpstreamTLSFailure(), Outcome.TLS_FAILURE, Verdict.DEAD),
        (errors.UpstreamTimeout(), Outcome.ANSWER_TIMEOUT, Verdict.EVIDENCE),
        (errors.UpstreamReset(), Outcome.RESET, Verdict.EVIDENCE),
        (errors.UpstreamBadAnswer(), Outcome.BAD_ANSWER, Verdict.EVIDENCE),
        (errors.UpstreamCut(), Outcome.CUT, Verdict.EVIDENCE),
        (errors.UpstreamStale(), Outcome.STALE, Verdict.NOTHING),
        (errors.UpstreamRefused(), Outcome.NOT_TAKEN, Verdict.NOTHING),
        (errors.UpstreamBusy(), Outcome.BUSY, Verdict.NOTHING),
        (errors.SlowClient(), Outcome.SLOW_CLIENT, Verdict.NOTHING),
        (errors.UpstreamPreempted(), Outcome.PREEMPTED, Verdict.NOTHING),
        (errors.UpstreamExhausted(), Outcome.EXHAUSTED, Verdict.NOTHING),
        (errors.UpstreamUnresolved(), Outcome.UNRESOLVED, Verdict.NOTHING),
        (ConnectionResetError("the client's"), Outcome.CLIENT_LEFT, Verdict.NOTHING),
    ],
)
def test_what_a_failed_attempt_says(error: Exception, outcome: Outcome, says: Verdict) -> None:
    assert outcome_of(error) is outcome
    assert verdict(outcome) is says


def test_silence_inside_the_body_says_nothing_but_a_reset_there_counts() -> None:
    assert outcome_of(errors.UpstreamTimeout(), answer_started=True) is Outcome.STALLED
    assert outcome_of(errors.UpstreamReset(), answer_started=True) is Outcome.CUT
    assert verdict(Outcome.STALLED) is Verdict.NOTHING
    assert verdict(Outcome.CUT) is Verdict.EVIDENCE


def test_people_are_told_the_cause_once_and_where_it_came() -> None:
    refused = errors.UpstreamUnreachable("cannot connect to the backend: No route to host")
    assert cause_of(refused, Outcome.REFUSED) == "cannot connect to the backend: No route to host"
    late = errors.UpstreamTimeout()
    assert cause_of(late, Outcome.ANSWER_TIMEOUT) == "the backend did not answer in time"
    assert cause_of(late, Outcome.STALLED) == "timeout inside the body"
    assert cause_of(ConnectionResetError("the client's"), Outcome.CLIENT_LEFT) == "client left"


@pytest.mark.parametrize("kind", UPSTREAM_ERRORS)
def test_every_upstream_error_is_an_outcome_of_its_own(kind: type[UpstreamError]) -> None:
    assert outcome_of(kind()) is not Outcome.CLIENT_LEFT


@pytest.mark.parametrize(
    ("status", "retry_after", "dead_on_500", "says"),
    [
        pytest.param(200, False, True, Verdict.ALIVE, id="an answer is a sign of life"),
        pytest.param(404, False, True, Verdict.ALIVE, id="a client's mistake too"),
        pytest.param(999, False, True, Verdict.ALIVE, id="a status that HTTP does not have"),
        pytest.param(101, False, True, Verdict.ALIVE, id="an upgrade too"),
        pytest.param(501, False, True, Verdict.NOTHING, id="the client chose the method"),
        pytest.param(505, False, True, Verdict.NOTHING, id="the client chose the version"),
        pytest.param(502, True, True, Verdict.EVIDENCE, id="a failing gateway counts"),
        pytest.param(503, False, True, Verdict.EVIDENCE, id="503 alone counts"),
        pytest.param(503, True, True, Verdict.NOTHING, id="announced maintenance does not"),
        pytest.param(599, False, False, Verdict.EVIDENCE, id="599 counts"),
        pytest.param(500, False, True, Verdict.EVIDENCE, id="a 500 counts"),
        pytest.param(500, False, False, Verdict.NOTHING, id="deadBackendOn500 off"),
    ],
)
def test_what_an_answer_says(
    status: int, retry_after: bool, dead_on_500: bool, says: Verdict
) -> None:
    assert says is verdict(
        Outcome.ANSWERED, status, retry_after=retry_after, dead_on_500=dead_on_500
    )


def test_only_a_frontend_with_several_backends_loses_one() -> None:
    assert not can_lose_one(parse_frontend("x", ["id", "http://a", "http://"]))
    assert can_lose_one(parse_frontend("x", ["id", "http://a", "http://b"]))


@pytest.mark.parametrize(
    ("backends", "gone", "one_more"),
    [(2, 0, True), (2, 1, False), (3, 1, False), (4, 1, True), (4, 2, False)],
)
def test_half_of_the_backends_stay_whatever_the_evidence(
    backends: int, gone: int, one_more: bool
) -> None:
    frontend = parse_frontend("x", ["id", *(f"http://b{n}" for n in range(backends))])
    marks = {f"http://b{n}": Mark(1030, 1000, "why", "me", evidence=True) for n in range(gone)}
    marks |= {"http://of-an-older-list": Mark(1030, 1000, "why", "me", evidence=True)}
    assert can_lose_one_by_evidence(frontend, marks, now=1001) is one_more
    assert can_lose_one_by_evidence(frontend, marks, now=1031)


def test_backends_that_take_no_connection_are_none_of_that_half() -> None:
    frontend = parse_frontend("x", ["id", *(f"http://b{n}" for n in range(4))])
    marks = {f"http://b{n}": Mark(1030, 1000, "refused", "me") for n in range(3)}
    assert can_lose_one_by_evidence(frontend, marks, now=1001)


def mark(previous: Mark | None, now: float, max_ttl: float = 300) -> Mark | None:
    return next_mark(previous, now=now, ttl=30, max_ttl=max_ttl, reason="why", by="me")


def test_a_failed_trial_doubles_the_time_up_to_the_maximum() -> None:
    times, current, now = [], None, 1000.0
    for _ in range(6):
        current = mark(current, now)
        assert current is not None
        times.append(current.until - now)
        now = current.until
    assert times == [30, 60, 120, 240, 300, 300]
    assert (current.since, current.failures) == (1000.0, 6)


def test_a_backend_that_is_marked_is_not_marked_again() -> None:
    first = mark(None, 1000)
    assert mark(first, 1001) is None


def test_a_ttl_of_zero_switches_marks_off() -> None:
    assert next_mark(None, now=1000, ttl=0, max_ttl=300, reason="why", by="me") is None


def test_the_first_mark_is_never_cut_by_the_maximum() -> None:
    first = mark(None, 1000, max_ttl=10)
    assert first is not None
    assert first.until == 1030


def retry(error: UpstreamError, method: bytes = b"GET", **facts: object) -> bool:
    known = {"body_intact": True, "answer_started": False, "retries": 0, "limit": 3} | facts
    return may_retry(error, method=method, **known)  # type: ignore[arg-type]


NOTHING_SENT = [
    errors.UpstreamUnreachable(),
    errors.UpstreamConnectTimeout(),
    errors.UpstreamTLSFailure(),
    errors.UpstreamStale(request_sent=False),
]
SENT = [
    errors.UpstreamStale(),
    errors.UpstreamReset(),
    errors.UpstreamBadAnswer(),
]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PATCH", b"PROPFIND", b"get"])
@pytest.mark.parametrize("error", NOTHING_SENT, ids=repr)
def test_with_nothing_sent_every_method_goes_on(error: UpstreamError, method: bytes) -> None:
    assert retry(error, method)


@pytest.mark.parametrize(
    ("method", "again"),
    [
        (b"GET", True), (b"HEAD", True), (b"OPTIONS", True), (b"TRACE", True), (b"PUT", True),
        (b"DELETE", True), (b"POST", False), (b"PATCH", False), (b"CONNECT", False),
        (b"PROPFIND", False), (b"get", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("error", SENT, ids=repr)
def test_once_sent_only_idempotent_methods_go_on(
    error: UpstreamError, method: bytes, again: bool
) -> None:
    assert retry(error, method) is again


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"POST"])
def test_a_request_that_a_backend_is_working_on_goes_nowhere_else(method: bytes) -> None:
    assert not retry(errors.UpstreamTimeout(), method)


def test_an_option_lets_what_only_reads_go_on_after_a_timeout() -> None:
    methods = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"POST", b"get"]
    again = [m for m in methods if retry(errors.UpstreamTimeout(), m, retry_timeouts=True)]
    assert again == [b"GET", b"HEAD"]


@pytest.mark.parametrize(("error", "method"), [*product(NOTHING_SENT + SENT, [b"GET", b"POST"])])
@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"answer_started": True}, id="never after a byte of the answer"),
        pytest.param({"body_intact": False}, id="never without the whole body"),
        pytest.param({"retries": 3}, id="never over the limit"),
        pytest.param({"limit": 0}, id="never when switched off"),
    ],
)
def test_what_forbids_every_retry(
    error: UpstreamError, method: bytes, facts: dict[str, object]
) -> None:
    assert not retry(error, method, **facts)


def test_a_full_queue_is_an_answer_and_no_reason_to_retry() -> None:
    assert not retry(errors.UpstreamBusy())


def test_a_connection_given_to_others_is_not_asked_for_again() -> None:
    assert not retry(errors.SlowClient())
    assert not retry(errors.UpstreamPreempted())
