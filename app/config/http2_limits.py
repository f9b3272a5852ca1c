"""The `server.http2` object: what one client's connection over HTTP/2 may ask for. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .types import Count, Section

WINDOW = 10
"""Seconds over which rates are meant: a burst of ten seconds' worth is no attack."""


class Http2Limits(Section, frozen=True, kw_only=True):
    """Rates are meant on the average of ten seconds; 0 means no limit."""

    max_streams: Annotated[int, Meta(ge=1, le=10_000)] = 128  # requests at once
    max_resets: Count = 100  # a second: streams that the client opens and ends unanswered
    max_pings: Count = 50  # a second
    max_settings: Count = 10  # frames a second
    max_empty_frames: Count = 100  # a second: DATA that carries and ends nothing
    max_updates: Count = 100  # frames a second, beside those that parts of answers account for
