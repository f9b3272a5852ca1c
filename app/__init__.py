"""Hipache: a distributed HTTP and WebSocket reverse proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .main import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> object:
    # Late, so that `hipache check` and the core's tests do not load a whole proxy.
    if name == "create_app":
        from .main import create_app

        return create_app
    raise AttributeError(name)
