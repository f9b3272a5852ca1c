"""Options that several commands share."""

from __future__ import annotations

import click

config_option = click.option(
    "-c", "--config", "path", metavar="PATH",
    help="The configuration file; else $HIPACHE_CONFIG, else config.json in this folder.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
