"""`hipache pause` and `resume`: requests wait for a moment instead of failing."""

from __future__ import annotations

import click

from ..frontends.maintenance import MAX_PAUSE
from ..stores.steered import with_option, without_option
from .cli_options import Duration, config_option
from .on_table import wait_option
from .steering import change


@click.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.option(
    "--for", "longest", type=Duration(f"{MAX_PAUSE}s"), default="30s", show_default=True,
    help="How long a request waits at most; then it gets 503.",
)  # fmt: skip
@wait_option
@config_option
def pause(host: str, longest: int, *, wait: float | None, path: str | None) -> None:
    """Let requests for HOST wait until `hipache resume HOST`, for all proxies at once."""
    change(host, path, lambda entry: with_option(entry, "pause", str(longest)), wait)


@click.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@wait_option
@config_option
def resume(host: str, wait: float | None, path: str | None) -> None:
    """Let the requests that wait for HOST go on, and all that follow."""
    change(host, path, lambda entry: without_option(entry, "pause"), wait)
