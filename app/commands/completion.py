"""`hipache completion`: what a shell needs to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell: eval "$(hipache completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    made = kind(ctx.find_root().command, {}, "hipache", "_HIPACHE_COMPLETE")
    click.echo(made.source_template % made.source_vars())  # not source(): that runs the shell
