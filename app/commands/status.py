"""`hipache status`: shows the workers of the running service."""

from __future__ import annotations

import json
import sys

import click

from ..errors import ConfigError
from ..workers.status import as_table, ask
from .cli_options import config_option, json_option
from .demo_config import read_config


@click.command()
@config_option
@json_option
def status(path: str | None, as_json: bool) -> None:
    """Show the workers of the service that runs here: age, memory, requests, draining or not."""
    try:
        config = read_config(path)
        if config.server.status_socket is None:
            raise ConfigError(f"{config.source}: server.statusSocket is null: no status to show")
        report = ask(config.server.status_socket)
    except ConfigError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(1)
    click.echo(json.dumps(report, indent=4) if as_json else as_table(report))
