"""How a command ends that cannot do its work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import EX_CONFIG, ConfigError, HipacheError


class CommandFailed(HipacheError):
    """The command cannot do what was asked; the text is all there is to say."""


@contextmanager
def one_line() -> Iterator[None]:
    """End with one line and a status if something goes wrong inside."""
    try:
        yield
    except HipacheError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(EX_CONFIG if isinstance(exc, ConfigError) else 1)
