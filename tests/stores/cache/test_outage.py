"""What is said about a store that is away: at first, once a minute, and when it is back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.stores.cache.outage import Outage


class Loop:
    """A clock that a test moves."""

    now = 1000.0

    def time(self) -> float:
        return self.now


def test_a_dead_redis_is_one_line_a_minute_with_a_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    outage = Outage("redis:")
    news = []
    for _ in range(150):
        news.append(outage.begin("refused", 7))
        loop.now += 1
    outage.end()
    assert news == [True] + [False] * 149
    assert caplog.messages == [
        "store away store=redis: cause=refused kept_routes=7",
        "store still away store=redis: cause=refused for=60s failures=61",
        "store still away store=redis: cause=refused for=120s failures=121",
        "store back store=redis: after=150.0s",
    ]
