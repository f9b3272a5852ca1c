"""`hipache debug-ticket`: a ticket that shows the `X-Debug` fields for a limited time."""

from __future__ import annotations

import time
from secrets import token_urlsafe

import click

from ..errors import ConfigError
from ..proxy.debug_fields import DebugTickets
from .cli_options import Duration, config_option
from .demo_config import read_config
from .failing import one_line


@click.command("debug-ticket")
@click.option(
    "--for", "seconds", type=Duration(longest="7d"), default="10m", show_default=True,
    help="How long it is valid: 30s, 10m, 2h, up to 7d.",
)  # fmt: skip
@config_option
def debug_ticket(seconds: int, path: str | None) -> None:
    """Print a ticket that shows the X-Debug fields to a client that sends it, from any address.

    curl -i -H "X-Debug: $(hipache debug-ticket)" http://www.example.com/
    """
    with one_line():
        config = read_config(path)
        secret = config.server.debug_secret
        if not secret:
            raise ConfigError(
                f"{config.source}: server.debugSecret: expected a secret for signing, the same "
                f'for all proxies, such as "{token_urlsafe(24)}"'
            )
    click.echo(DebugTickets(secret).issue(int(time.time()) + seconds))
