"""How far a request has come without a task when it needs one: the states of the hand-over.

    FastPath                                        HttpProxy.serve
    decide ──── nothing was sent yet ─────────────> Decision, or one still to be awaited
       │
    attempt ─── no connection is free ────────────> Unsent
       │
    sent ────── the answer is not there at once ──> Sent
       │
    answered    anywhere: an exception ───────────> Failed

Each state has what the next step needs, and nothing else. Requests that come through ASGI
begin with a Decision or with Failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..upstream.answer import Answer
from ..upstream.waiting import Waiter
from .attempt import Attempt
from .decision import Decision, Undecided


@dataclass(frozen=True, slots=True)
class Failed:
    """Deciding, or the attempt, has raised `error`; no attempt is open."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Unsent:
    """An attempt has begun; its request was not sent."""

    attempt: Attempt[Any]
    waiter: Waiter | None = None
    """Its place in the queue for a connection, None if it has none yet."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt has begun and its request was sent: `answer` receives what comes."""

    attempt: Attempt[Any]
    answer: Answer


Handover: TypeAlias = Decision | Undecided | Failed | Unsent | Sent
