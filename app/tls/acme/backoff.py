"""How long a name waits after failures, so that a fleet never hammers a CA. Pure.

Let's Encrypt takes five failed validations of a name in an hour
(https://letsencrypt.org/docs/rate-limits/). One, four, sixteen minutes and so on make four.
"""

from __future__ import annotations

from ...stores.issuance import HOUR, IssuanceState, Wish

FIRST, FACTOR, LONGEST = 60.0, 4.0, 86_400.0
PER_HOUR = 5
"""Failures of a name in an hour, also where a person insists."""
REMEMBERED = 10
"""Failures that are remembered."""


def budget(per_hour: int, wish: Wish | None, *, own: bool) -> int:
    """Orders in an hour, of all kinds, with which one more may still begin.

    `wish`: why it is ordered, None where its time has come. `own`: the name is a frontend of its
    own. Clients can invent names below wildcards, so what others need is kept from those, now and
    when they are renewed. At least one may always begin.

    >>> [budget(50, why, own=own) for own in (False, True) for why in (Wish.CLIENT, None)]
    [30, 35, 40, 50]
    """
    match wish:
        case Wish.ORDER | Wish.RENEW:
            tenths = 10
        case Wish.CLIENT:
            tenths = 8 if own else 6
        case None:
            tenths = 10 if own else 7
    return max(1, per_hour * tenths // 10)


def after_failure(
    before: IssuanceState | None, error: str, *, now: float, retry_after: float = 0.0
) -> IssuanceState:
    """The state after one more failure; `retry_after`: seconds that the CA asks for.

    >>> one = after_failure(None, "dns", now=1000.0)
    >>> after_failure(one, "dns", now=1060.0).not_before
    1300.0
    """
    failures = (*(before.failures if before else ()), now)[-REMEMBERED:]
    wait = min(FIRST * FACTOR ** (len(failures) - 1), LONGEST)
    until = now + max(wait, min(retry_after, LONGEST))
    return IssuanceState(error=error, failures=failures, not_before=max(until, by_hand(failures)))


def by_hand(failures: tuple[float, ...]) -> float:
    """When a person may have the name tried again, in Unix seconds: at once, but for the limit
    of an hour."""
    return failures[-PER_HOUR] + HOUR if len(failures) >= PER_HOUR else 0.0


def may_try(state: IssuanceState | None, *, now: float, insists: bool) -> bool:
    """Whether a name may be tried now; `insists`: a person wants it."""
    if state is None:
        return True
    return now >= (by_hand(state.failures) if insists else state.not_before)


def postponed(before: IssuanceState | None, error: str, *, until: float) -> IssuanceState:
    """The state where the name is not to blame: the CA is away, or the budget is used up."""
    failures = before.failures if before else ()
    return IssuanceState(error=error, failures=failures, not_before=until)
