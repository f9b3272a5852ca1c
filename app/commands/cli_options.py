"""Options that several commands share."""

from __future__ import annotations

import click

from ..config.durations import seconds as in_seconds

_CONFIG_HELP = "The configuration file; else $HIPACHE_CONFIG, else config.json in this folder."

group_config_option = click.option("-c", "--config", "path", metavar="PATH", help=_CONFIG_HELP)
"""In front of a command: it holds for whatever command follows."""
config_option = click.option(
    "-c", "--config", "path", metavar="PATH", help=_CONFIG_HELP,
    default=lambda: click.get_current_context().find_root().params.get("path"),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


class Duration(click.ParamType[int]):
    """A time as people write it (30, 30s, 10m, 2h, 7d), in whole seconds."""

    name = "TIME"

    def __init__(self, longest: str = "365d") -> None:
        self._longest = longest

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The seconds. Ends the command where `value` is no time, or too long a one."""
        seconds = in_seconds(str(value))
        if seconds is None or not 0 < seconds <= (in_seconds(self._longest) or 0) or seconds % 1:
            self.fail(f"{value!r} is not a time such as 30s, 10m, 2h, up to {self._longest}")
        return int(seconds)


class FineDuration(click.ParamType[float]):
    """The same for waits, in which parts of a second count (0.5, 1.5s). 0 is a time, too."""

    name = "TIME"

    def __init__(self, shortest: float = 0.0, longest: str = "365d") -> None:
        self._shortest = shortest
        self._longest = longest

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds. Ends the command where `value` is no time, or out of bounds."""
        seconds = in_seconds(str(value))
        if seconds is None or not self._shortest <= seconds <= (in_seconds(self._longest) or 0):
            self.fail(
                f"{value!r} is not a time such as 0.5s, 30s, 10m, "
                f"from {self._shortest:g}s up to {self._longest}"
            )
        return seconds
