"""`hipache help` and `hipache version`: what git and others have as commands, too."""

from __future__ import annotations

import json
import platform

import click

from ..system.release import version as release
from .cli_options import json_option


@click.command("help")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of COMMAND, or this list: 'hipache help route set'."""
    shown = ctx.find_root()
    for word in words:
        if not isinstance(shown.command, click.Group):
            raise click.UsageError(f"{shown.command_path!r} has no command {word!r}.", shown)
        _, command, _ = shown.command.resolve_command(shown, [word])
        assert command is not None  # resolve_command raises where there is none
        shown = click.Context(command, parent=shown, info_name=word)
    click.echo(shown.get_help())


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Show the version, and that of Python."""
    versions = {"hipache": release(), "python": platform.python_version()}
    told = "\n".join(f"{name} {number}" for name, number in versions.items())
    click.echo(json.dumps(versions, indent=4) if as_json else told)
