"""How a command ends if it cannot do its work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import EX_CONFIG, ConfigError, HipacheError


class CommandFailed(HipacheError):
    """The command cannot do what was asked; the text says why."""


@contextmanager
def one_line() -> Iterator[None]:
    """Turn an error inside into one line and an exit status."""
    try:
        yield
    except HipacheError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(EX_CONFIG if isinstance(exc, ConfigError) else 1)
