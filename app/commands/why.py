"""`hipache why`: tells what became of one request."""

from __future__ import annotations

import asyncio
import json

import click
import msgspec

from ..config.structs import Config
from ..errors import HipacheError
from ..recorder.asking import StoryQuestion, ask_others
from ..recorder.rings import stories
from ..recorder.stories import Story
from ..recorder.telling import told
from ..system.shared_folder import service_folders
from .cli_options import config_option, json_option
from .demo_config import read_config
from .failing import CommandFailed, one_line
from .recorded import check_recorded


@click.command()
@click.argument("request_id", metavar="ID")
@config_option
@json_option
def why(request_id: str, path: str | None, *, as_json: bool) -> None:
    """Tell what became of the request ID: the id on an error page, in the log or in a field.

    Kept are the last thousand requests that failed in each worker, and some of those that were
    retried, were slow or went well. Where they are not of this machine, the proxies that share
    its Redis are asked.
    """
    with one_line():
        request_id = request_id.strip()  # as it was copied
        config = read_config(path)
        check_recorded(config)
        kept = stories(service_folders(), holding=request_id)
        found = [story for story in kept if story.id == request_id]
        found = found or _of_others(config, request_id)
        if as_json:
            click.echo(json.dumps([as_object(story) for story in found], indent=2))
            return
        for story in found:
            for line in told(story):
                click.echo(line)


def _of_others(config: Config, request_id: str) -> list[Story]:
    """Those that other proxies keep. Raises CommandFailed where none does."""
    problem = f"no request {request_id!r} is kept on this machine"
    try:
        answer = asyncio.run(ask_others(config, StoryQuestion(request_id)))
    except HipacheError as exc:
        raise CommandFailed(f"{problem}; other proxies were not asked: {exc}") from exc
    if answer is None:
        raise CommandFailed(problem)
    if not answer.stories:
        unheard = f" ({answer.unheard})" if answer.silent else ""
        raise CommandFailed(f"{problem}, nor by other proxies of its store{unheard}")
    return answer.stories


def as_object(story: msgspec.Struct) -> dict[str, object]:
    """A story as JSON has it, with its names."""
    values = msgspec.structs.asdict(story)
    return {
        name: [msgspec.structs.asdict(each) for each in value] if name == "tries" else value
        for name, value in values.items()
    }
