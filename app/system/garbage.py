"""Leaves Python's cycle collector little to do."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (10_000, 20, 50)
"""Requests leave hardly any cycles behind, so the collector may come less often."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """While open, the collector skips objects made before, and visits others less often.

    With Python's own thresholds, repeated walks over modules, classes and
    configuration took an eighth of a worker's time.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def forget_frames(error: BaseException) -> None:
    """Let go of what `error` has passed through: it was dealt with.

    A future that has failed is a variable of the function that awaited it, which the error's
    traceback refers to, and it keeps the error: a cycle, with the request and its body in it.
    """
    left: BaseException | None = error
    while left is not None and left.__traceback__ is not None:
        left.__traceback__ = None
        left = left.__cause__ or left.__context__
