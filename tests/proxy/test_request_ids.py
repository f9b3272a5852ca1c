"""Request ids: in the order of time, and never the same twice."""

from __future__ import annotations

import re
from time import time

from app.proxy.request_ids import RequestIds

MANY = 20_000


def test_ids_of_a_worker_are_in_the_order_in_which_they_were_made() -> None:
    ids = RequestIds()
    made = [ids.new() for _ in range(MANY)]
    assert made == sorted(made)
    assert len(set(made)) == MANY


def test_an_id_begins_with_its_time() -> None:
    """So the ids of all workers and proxies are in order, too, to a millisecond."""
    before = int(time() * 1000)
    made = RequestIds().new()
    assert re.fullmatch(r"[0-9a-f]{26}", made)
    assert before <= int(made[:12], 16) <= int(time() * 1000)


def test_two_workers_never_make_the_same() -> None:
    one, two = RequestIds(), RequestIds()
    assert not {one.new() for _ in range(MANY)} & {two.new() for _ in range(MANY)}
