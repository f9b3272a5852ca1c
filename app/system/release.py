"""The version of this Hipache."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version."""
    try:
        return metadata.version("hipache")
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return "unknown"
