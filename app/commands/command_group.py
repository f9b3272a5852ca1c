"""A group of commands whose help leaves nothing out, and that knows what people type instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

OTHER_WORDS = {
    "show": ("cat", "describe", "get", "info"),
    "list": ("ls", "all", "get", "show"),
    "remove": ("rm", "delete", "del"),
    "unset": ("rm", "delete", "del", "remove", "clear"),
    "clear": ("rm", "delete", "del", "remove", "unmark"),
    "rename": ("mv", "move"),
    "set": ("create", "new", "put", "update"),
    "on": ("start", "enable", "set"),
    "off": ("stop", "disable", "end", "unset"),
}
"""Names that commands have elsewhere, by their names here; the first in a group is meant."""
TAKE_A_HOST = ("show", "list", "on")


class CommandGroup(click.Group):
    """Lists each command with the whole first sentence of its help, wrapped; click cuts it off.

    `instead` says for words that are no command what does that here.
    """

    def __init__(self, *args: Any, instead: Mapping[str, str] | None = None, **named: Any) -> None:
        super().__init__(*args, **named)
        self._instead = instead or {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of commands."""
        rows = [
            (name, command.get_short_help_str(limit=1000).rstrip("."))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names. Raises UsageError, with a hint if we know one."""
        if args[0] not in self.commands and (hint := self._hint(ctx, args[0])) is not None:
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: click.Context, word: str) -> str | None:
        for name, others in OTHER_WORDS.items():
            if name in self.commands and word in others:
                return f"Did you mean {name!r}?"
        first = next((name for name in TAKE_A_HOST if name in self.commands), None)
        if first is not None and "." in word:
            return f"The command comes before the host: {ctx.command_path} {first} {word}"
        return self._instead.get(word)
