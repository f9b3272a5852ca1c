"""The order in which the backends of a plan are considered. Pure.

1. the one that the client's sticky cookie names;
2. one whose mark has lapsed and that is due for its trial request;
3. the live ones, by the frontend's policy; then the live `backup` ones;
4. with `panic`: those on trial, those drained, and at last the dead one that
   was marked (or chosen in this way) longest ago, unless `wake` names somebody
   who starts one.

A backend that this request has tried is considered again only if no other is
left.
"""

from __future__ import annotations

from collections.abc import Collection

from ..routing import Backend
from .choosers import RequestFacts, make_chooser
from .plans import BalancerInputs, Plan


def consider(
    plan: Plan, facts: RequestFacts, tried: Collection[str], inputs: BalancerInputs
) -> Backend | None:
    """The backend for a request whose earlier attempts went to `tried`; None if none may get it."""
    backend = (
        _sticky(plan, facts, tried)
        or _on_trial(plan, tried)
        or _live(plan, facts, tried, inputs)
        or _last_resort(plan, tried, inputs)
    )
    if backend is None and tried:  # all were tried: now regardless of that
        backend = _live(plan, facts, (), inputs) or _last_resort(plan, (), inputs)
    return backend


def has_backend(plan: Plan) -> bool:
    """Whether there is one for a request that has tried none, without a cookie."""
    if plan.choose is not None:
        return True
    if plan.options.panic and (plan.lapsed or plan.drained):
        return True
    if any(backend.url not in plan.rotation.trials for backend in plan.lapsed):
        return True
    return bool(plan.dead) and plan.options.panic and plan.options.wake is None


def _sticky(plan: Plan, facts: RequestFacts, tried: Collection[str]) -> Backend | None:
    if plan.options.sticky is None:
        return None
    token = facts.cookie(plan.options.sticky.encode())
    backend = plan.tokens.get(token) if token is not None else None
    if token is None or backend is None:
        return None
    if backend.url not in tried:
        if backend.url in plan.usable:
            return backend
        if backend in plan.lapsed and backend.url not in plan.rotation.trials:
            plan.rotation.trials.add(backend.url)
            return backend
    fallback = plan.fallback(token)
    return fallback if fallback is not None and fallback.url not in tried else None


def _on_trial(plan: Plan, tried: Collection[str]) -> Backend | None:
    trials = plan.rotation.trials
    for backend in plan.lapsed:
        if backend.url not in trials and backend.url not in tried:
            trials.add(backend.url)
            return backend
    return None


def _live(
    plan: Plan, facts: RequestFacts, tried: Collection[str], inputs: BalancerInputs
) -> Backend | None:
    if not tried:
        return plan.choose(facts) if plan.choose else None
    for tier in plan.tiers:
        fresh = [candidate for candidate in tier if candidate.backend.url not in tried]
        if fresh:
            return make_chooser(plan.options, fresh, inputs.random, inputs.clock)(facts)
    return None


def _last_resort(plan: Plan, tried: Collection[str], inputs: BalancerInputs) -> Backend | None:
    if not plan.options.panic:
        return None
    for backend in (*plan.lapsed, *plan.drained):
        if backend.url not in tried:
            return backend
    if plan.options.wake is not None:  # somebody can start one, and the request may wait
        return None
    dead = [(mark, backend) for mark, backend in plan.dead if backend.url not in tried]
    if not dead:
        return None
    panicked = plan.rotation.panicked
    _, backend = min(dead, key=lambda d: max(d[0].since, panicked.get(d[1].url, 0.0)))
    panicked[backend.url] = inputs.clock()
    plan.rotation.trials.add(backend.url)
    return backend
