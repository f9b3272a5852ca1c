"""What a worker makes of the states that it hears and is told."""

from pathlib import Path
from unittest.mock import Mock

from app.stores.redis.listening.shared_tracker import SharedTracker
from app.stores.redis.listening.tracking_news import NewsKind, TrackingEars, TrackingNews
from app.stores.redis.tracking import TrackingListener

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
