"""What a worker makes of the states that it hears and is told."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from app.stores.redis.listening import shared_tracker
from app.stores.redis.listening.shared_tracker import HAND_OVER_AFTER, SharedTracker
from app.stores.redis.listening.tracking_news import NewsKind, TrackingEars, TrackingNews
from app.stores.redis.tracking import Tracker, TrackingListener

LANDMARK = TrackingNews(NewsKind.LANDMARK, landmark=b"7")
TRACKING = TrackingNews(NewsKind.TRACKING)


def shared(listener: TrackingListener) -> SharedTracker:
    ears = TrackingEars(listener, lambda keys: None, lambda value: None)
    return SharedTracker(Path("nowhere"), Mock(side_effect=AssertionError), ears)


def test_a_store_that_one_listening_worker_cannot_reach_is_told_once() -> None:
    listener = Mock(TrackingListener)
    tracker = shared(listener)
    for _ in range(3):
        tracker._hear_told(TrackingNews(NewsKind.UNREACHABLE, "full"))
        tracker._hear_told(TrackingNews(NewsKind.LOST, "full"))
    listener.unreachable.assert_called_once_with("full")
    tracker._hear_told(TRACKING)
    tracker._hear_told(TrackingNews(NewsKind.UNREACHABLE, "gone"))
    assert listener.unreachable.call_count == 2


@pytest.mark.parametrize("said_no", [True, False], ids=["by its word", "by closing"])
def test_who_is_refused_lets_others_try_once_unless_they_would_hear_the_same(
    monkeypatch: pytest.MonkeyPatch, said_no: bool
) -> None:
    now = 100.0
    monkeypatch.setattr(shared_tracker, "monotonic", lambda: now)
    tracker = shared(Mock(TrackingListener))
    tracker._tracker = Mock(Tracker, said_no=said_no)
    tracker._hear_own(TrackingNews(NewsKind.REFUSED, "closed"))
    now += HAND_OVER_AFTER + 1
    assert tracker._hands_over() is not said_no
    tracker._stays_until = now + 10
    assert not tracker._hands_over()
    tracker._hear_own(TrackingNews(NewsKind.LOST, "gone"))
    now += HAND_OVER_AFTER + 1
    assert tracker._hands_over()


def test_who_comes_while_nothing_is_tracked_is_told_no_landmark() -> None:
    tracker = shared(Mock(TrackingListener))
    tracker._hear_own(LANDMARK)
    tracker._hear_own(TRACKING)
    assert tracker._news_for_new() == [TRACKING, LANDMARK]
    for kind in (NewsKind.LOST, NewsKind.REFUSED, NewsKind.UNREACHABLE):
        tracker._hear_own(TRACKING)
        tracker._hear_own(LANDMARK)
        tracker._hear_own(last := TrackingNews(kind, "why"))
        assert tracker._news_for_new() == [last]
