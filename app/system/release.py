"""The version of this Hipache."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """The version that was installed when this process first asked."""
    try:
        return metadata.version("hipache")
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return "unknown"
