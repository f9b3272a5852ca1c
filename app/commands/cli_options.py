"""Options that several commands share."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


_CONFIG_HELP = "The configuration file; else $HIPACHE_CONFIG, else config.json in this folder."

group_config_option = click.option("-c", "--config", "path", metavar="PATH", help=_CONFIG_HELP)
"""In front of a command: it holds for whatever command follows."""
config_option = click.option(
    "-c", "--config", "path", metavar="PATH", help=_CONFIG_HELP,
    default=lambda: click.get_current_context().find_root().params.get("path"),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


class Duration(click.ParamType[int]):
    """A time as people write it (30, 30s, 10m, 2h, 7d), in seconds."""

    name = "TIME"

    def __init__(self, longest: str = "365d") -> None:
        self._longest = longest

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The seconds. Ends the command where `value` is no time, or too long a one."""
        seconds = value if isinstance(value, int) else _seconds(value)
        if not 0 < seconds <= _seconds(self._longest):
            self.fail(f"{value!r} is not a time such as 30s, 10m, 2h, up to {self._longest}")
        return seconds


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text)
    return int(found[1]) * _UNITS[found[2] or "s"] if found else 0
