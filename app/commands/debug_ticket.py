"""`hipache debug-ticket`: a ticket that shows the `X-Debug` fields for a limited time."""

from __future__ import annotations

import os
import re
import time
from secrets import token_urlsafe

import click

from ..config.file import here, load
from ..errors import ConfigError
from ..proxy.debug_fields import DebugTickets
from .cli_options import config_option
from .failing import one_line

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST = 7 * 86_400


def _seconds(_: click.Context, __: click.Parameter, value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,7})([smhd]?)", value)
    seconds = int(found[1]) * UNITS[found[2] or "s"] if found else 0
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(f"{value!r} is not a time such as 30s, 10m, 2h, up to 7d")
    return seconds


@click.command("debug-ticket")
@click.option(
    "--for", "seconds", callback=_seconds, default="10m", show_default=True, metavar="TIME",
    help="How long it is valid: 30s, 10m, 2h, up to 7d.",
)  # fmt: skip
@config_option
def debug_ticket(seconds: int, path: str | None) -> None:
    """Print a ticket that shows the X-Debug fields to a client that sends it, from any address.

    curl -i -H "X-Debug: $(hipache debug-ticket)" http://www.example.com/
    """
    with one_line():
        config = load(path, os.environ, here())
        secret = config.server.debug_secret
        if not secret:
            raise ConfigError(
                f"{config.source}: server.debugSecret: expected a secret for signing, the same "
                f'for all proxies, such as "{token_urlsafe(24)}"'
            )
    click.echo(DebugTickets(secret).issue(int(time.time()) + seconds))
