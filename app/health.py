"""What an attempt says about its backend, and whether the request may be tried again. Pure.

Hipache marked a backend dead that refused, that timed out, or that answered
501-599, and retried every failed request, whatever had been sent of it
(lib/worker.js, 0.3.1). But a visitor chooses what is asked: one slow page then marked
every backend for everybody. So what a request may have brought about is evidence only
(app.balancing.evidence). Where a retry could act twice on one request, RFC 9110
§9.2.2 wins.
"""

from __future__ import annotations

from enum import StrEnum

from .errors import (
    BackendForbidden,
    SlowClient,
    UpstreamBadAnswer,
    UpstreamBusy,
    UpstreamConnectTimeout,
    UpstreamCut,
    UpstreamError,
    UpstreamExhausted,
    UpstreamPreempted,
    UpstreamRefused,
    UpstreamReset,
    UpstreamStale,
    UpstreamTimeout,
    UpstreamTLSFailure,
    UpstreamUnreachable,
    UpstreamUnresolved,
)
from .routing import Frontend, Mark, Marks

REPLACEMENTS = 3
"""Kept connections that one request may find closed; each is replaced without counting a retry."""

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 §9.2.2; a method that we do not know is not among them."""


READING = frozenset({b"GET", b"HEAD"})
"""What `server.retryTimeouts` lets be sent again."""

CHOSEN_BY_CLIENT = frozenset({501, 505})
"""Not implemented, HTTP version not supported: the client chose method and version."""


class Outcome(StrEnum):
    """How an attempt at a backend ended, in words to count by."""

    ANSWERED = "answered"
    REFUSED = "connection refused"
    CONNECT_TIMEOUT = "connect timeout"
    TLS_FAILURE = "TLS failure"
    ANSWER_TIMEOUT = "answer timeout"
    RESET = "reset before the answer"
    BAD_ANSWER = "bad answer"
    CUT = "reset inside the body"
    STALLED = "timeout inside the body"
    FORBIDDEN = "never connected to"
    STALE = "kept connection was closed"
    NOT_TAKEN = "request refused"
    BUSY = "all connections busy"
    SLOW_CLIENT = "slow client made way"
    PREEMPTED = "made way for others"
    EXHAUSTED = "no more connections from this proxy"
    UNRESOLVED = "no answer from the resolver"
    CLIENT_LEFT = "client left"


class Verdict(StrEnum):
    """What an outcome says about the backend."""

    ALIVE = "alive"
    NOTHING = "nothing"
    EVIDENCE = "evidence against it"
    DEAD = "dead"


_VERDICTS = {
    # It takes no connections at all.
    Outcome.REFUSED: Verdict.DEAD,
    Outcome.CONNECT_TIMEOUT: Verdict.DEAD,
    Outcome.TLS_FAILURE: Verdict.DEAD,
    # The request may be to blame.
    Outcome.ANSWER_TIMEOUT: Verdict.EVIDENCE,
    Outcome.RESET: Verdict.EVIDENCE,
    Outcome.BAD_ANSWER: Verdict.EVIDENCE,
    Outcome.CUT: Verdict.EVIDENCE,
    # An event stream has nothing to say for a while.
    Outcome.STALLED: Verdict.NOTHING,
    # Not its fault.
    Outcome.STALE: Verdict.NOTHING,
    Outcome.NOT_TAKEN: Verdict.NOTHING,
    Outcome.BUSY: Verdict.NOTHING,
    Outcome.SLOW_CLIENT: Verdict.NOTHING,
    Outcome.PREEMPTED: Verdict.NOTHING,
    Outcome.EXHAUSTED: Verdict.NOTHING,
    # A mark would hold for the whole fleet, but other machines have resolvers of their own.
    Outcome.UNRESOLVED: Verdict.NOTHING,
    Outcome.FORBIDDEN: Verdict.NOTHING,
    Outcome.CLIENT_LEFT: Verdict.NOTHING,
}

# The first that matches; a subclass stands before its base.
_OUTCOMES: tuple[tuple[type[UpstreamError], Outcome], ...] = (
    (UpstreamConnectTimeout, Outcome.CONNECT_TIMEOUT),
    (UpstreamTLSFailure, Outcome.TLS_FAILURE),
    (BackendForbidden, Outcome.FORBIDDEN),
    (UpstreamExhausted, Outcome.EXHAUSTED),
    (UpstreamUnresolved, Outcome.UNRESOLVED),
    (UpstreamUnreachable, Outcome.REFUSED),
    (UpstreamBusy, Outcome.BUSY),
    (SlowClient, Outcome.SLOW_CLIENT),
    (UpstreamPreempted, Outcome.PREEMPTED),
    (UpstreamStale, Outcome.STALE),
    (UpstreamRefused, Outcome.NOT_TAKEN),
    (UpstreamReset, Outcome.RESET),
    (UpstreamTimeout, Outcome.ANSWER_TIMEOUT),
    (UpstreamBadAnswer, Outcome.BAD_ANSWER),
    (UpstreamCut, Outcome.CUT),
)


def outcome_of(error: BaseException, *, answer_started: bool = False) -> Outcome:
    """The outcome that an exception of an attempt stands for.

    Other errors than UpstreamError come from the client's side (it left, its
    body broke off, the request was cancelled) and never blame a backend.
    `answer_started`: the head of the answer had come.
    """
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            if answer_started and outcome is Outcome.ANSWER_TIMEOUT:
                return Outcome.STALLED
            return Outcome.CUT if answer_started and outcome is Outcome.RESET else outcome
    return Outcome.CLIENT_LEFT


def cause_of(error: BaseException, outcome: Outcome) -> str:
    """The cause for people: the error's own text, which says more than the outcome.

    But an error does not know that it came inside the body; then the outcome says more.
    """
    own = isinstance(error, UpstreamError) and outcome is outcome_of(error)
    return str(error) if own else str(outcome)


def verdict(
    outcome: Outcome, status: int = 200, *, retry_after: bool = False, dead_on_500: bool = True
) -> Verdict:
    """What an attempt says about its backend.

    `status` and `retry_after` (the answer has that field) matter for
    `ANSWERED` only. 503 with `Retry-After` is announced maintenance. 500 counts
    where `dead_on_500` (`server.deadBackendOn500`) says so.
    """
    if outcome is not Outcome.ANSWERED:
        return _VERDICTS[outcome]
    if status < 500 or status > 599:  # HTTP has none of 600-999: LinkedIn refuses a client with 999
        return Verdict.ALIVE
    announced = status == 503 and retry_after
    if announced or status in CHOSEN_BY_CLIENT or (status == 500 and not dead_on_500):
        return Verdict.NOTHING
    return Verdict.EVIDENCE


def can_lose_one(frontend: Frontend) -> bool:
    """Whether a backend may be marked dead: the only one of a frontend never is."""
    return len(frontend.backends) > 1


def can_lose_one_by_evidence(frontend: Frontend, marks: Marks, now: float) -> bool:
    """Whether one more may be marked for what requests brought about: at most half of all."""
    gone = sum(
        mark.evidence and mark.until > now
        for backend in frontend.backends
        if (mark := marks.get(backend.url)) is not None
    )
    return 2 * (gone + 1) <= len(frontend.backends)


def next_mark(
    previous: Mark | None,
    *,
    now: float,
    ttl: float,
    max_ttl: float,
    reason: str,
    by: str,
    evidence: bool = False,
) -> Mark | None:
    """The mark for a backend that was found dead at `now`; None if it is marked already,
    or if marks are switched off (`ttl` 0).

    A mark that lapsed without a success since is repeated for twice as long
    as it would have been before, from `ttl` up to `max_ttl` seconds.
    """
    if not ttl or (previous is not None and previous.until > now):
        return None
    failures = previous.failures + 1 if previous is not None else 1
    seconds = min(ttl * 2.0 ** min(failures - 1, 60), max(ttl, max_ttl))
    since = previous.since if previous is not None else now
    return Mark(now + seconds, since, reason, by, failures, evidence)


def may_retry(
    error: UpstreamError,
    *,
    method: bytes,
    body_intact: bool,
    answer_started: bool,
    retries: int,
    limit: int,
    retry_timeouts: bool = False,
) -> bool:
    """Whether a request whose attempt ended with `error` may be sent again.

    `body_intact`: the body is empty, not touched yet, or still held whole; a
    retry without its first bytes would be a truncated upload (hipache #137).
    `answer_started`: a byte of an answer came. `retries`: how many were made
    so far, of `limit` (`server.retryOnError`). `retry_timeouts`: `server.retryTimeouts`.

    If nothing was sent, the backend cannot have acted, so any method may be
    retried; otherwise only an idempotent one (RFC 9110 §9.2.2). A request whose
    answer takes too long is probably being worked on: a second backend would do the
    same work and be late as well. A request for a busy backend does not move to
    another: its queue has an end. Nor does one that had to make way for others.
    """
    if answer_started or retries >= limit or not body_intact:
        return False
    if isinstance(error, UpstreamBusy | UpstreamPreempted):
        return False
    if not error.request_sent:
        return True
    if isinstance(error, UpstreamTimeout):
        return retry_timeouts and method in READING
    return method in IDEMPOTENT
