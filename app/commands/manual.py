"""`hipache man`: the man page, made of the help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ..system.release import version

STATUSES = """\
.SH TIMES
A time is written 30, 30s, 10m, 2h or 7d; a number alone means seconds.
.SH EXIT STATUS
.TP
0
All is well.
.TP
1
The command found a problem, or could not do what was asked.
.TP
2
The command line is wrong.
.TP
78
The configuration is wrong: to start again would not help.
.SH FILES
.TP
.I config.json
The configuration, in the folder that hipache is started in; else where
.B HIPACHE_CONFIG
or
.B \\-\\-config
says.
"""


@click.command("man")
@click.pass_context
def manual(ctx: click.Context) -> None:
    """Print hipache(1) in roff, for those who build packages."""
    click.echo(page(ctx.find_root()), nl=False)


def page(root: click.Context) -> str:
    """The whole page, of the group that `root` belongs to."""
    title = f'.TH HIPACHE 1 "" "hipache {version()}" "User Commands"'
    head = [title, ".SH NAME", r"hipache \- a distributed HTTP and WebSocket reverse proxy"]
    return "\n".join([*head, *_section(root, "hipache", ".SH"), STATUSES])


def _section(ctx: click.Context, name: str, macro: str) -> Iterator[str]:
    command = ctx.command
    yield f"{macro} {_roff(name.upper() if macro == '.SH' else name)}"
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield rf"\fB{_roff(name)}\fR {_roff(usage)}"
    for paragraph in (command.help or "").replace("\b", "").split("\n\n"):
        yield ".PP"
        yield _roff(" ".join(paragraph.split()))
    for parameter in command.get_params(ctx):
        if (record := parameter.get_help_record(ctx)) is not None:
            yield from (".TP", rf"\fB{_roff(record[0])}\fR", _roff(record[1] or "-"))
    if isinstance(command, click.Group):
        for each, below in sorted(command.commands.items()):
            if not below.hidden:
                inner = click.Context(below, parent=ctx)  # inherits -h
                yield from _section(inner, f"{name} {each}", ".SS")


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
