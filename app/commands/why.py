"""`hipache why`: tells what became of one request."""

from __future__ import annotations

import json
import os

import click
import msgspec

from ..config.file import here, load
from ..recorder.rings import stories
from ..recorder.telling import told
from .cli_options import config_option, json_option
from .failing import CommandFailed, one_line
from .recorded import recorded_here


@click.command()
@click.argument("request_id", metavar="ID")
@config_option
@json_option
def why(request_id: str, path: str | None, *, as_json: bool) -> None:
    """Tell what became of the request ID: the id on an error page, in the log or in a field.

    Kept are the last thousand requests that failed in each worker of this machine, and some of
    those that were retried, were slow or went well.
    """
    with one_line():
        folders = recorded_here(load(path, os.environ, here()))
        found = [story for story in stories(folders) if story.id == request_id]
        if not found:
            raise CommandFailed(f"no request {request_id!r} is kept on this machine")
        if as_json:
            click.echo(json.dumps([as_object(story) for story in found], indent=2))
            return
        for story in found:
            for line in told(story):
                click.echo(line)


def as_object(story: msgspec.Struct) -> dict[str, object]:
    """A story as JSON has it, with its names."""
    values = msgspec.structs.asdict(story)
    return {
        name: [msgspec.structs.asdict(each) for each in value] if name == "tries" else value
        for name, value in values.items()
    }
