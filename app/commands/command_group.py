"""A group of commands whose help leaves nothing out."""

from __future__ import annotations

import click


class CommandGroup(click.Group):
    """Lists each command with the whole first sentence of its help, wrapped; click cuts it off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of commands."""
        rows = [
            (name, command.get_short_help_str(limit=1000).rstrip("."))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
