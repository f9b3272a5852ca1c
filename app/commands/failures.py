"""`hipache failures`: lists the requests that failed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress

import click

from ..config.file import DEFAULTS
from ..config.structs import Config
from ..recorder.asking import StoryQuestion, ask_others
from ..recorder.recorder import service_of
from ..recorder.rings import stories
from ..recorder.stories import Kind, Story
from ..recorder.telling import is_of, row
from .cli_options import Duration, config_option, json_option
from .demo_config import read_config
from .failing import CommandFailed, one_line
from .recorded import check_recorded, recorded_by
from .why import as_object

EVERY = 0.5
"""Seconds between two looks of `--follow`."""


@click.command()
@click.option("--host", help="Only those that asked for this host, or matched this frontend.")
@click.option("--since", type=Duration(), help="Only those of the last 30s, 10m, 2h.")
@click.option(
    "-n", "--last", type=click.IntRange(1), default=50, show_default=True,
    help="At most as many, the latest.",
)  # fmt: skip
@click.option("--all", "fleet", is_flag=True, help="Those of all proxies that share the Redis.")
@click.option("--follow", is_flag=True, help="Go on with those to come. Ctrl-C ends it.")
@config_option
@json_option
def failures(
    host: str | None, since: int | None, last: int, path: str | None,
    *, fleet: bool, follow: bool, as_json: bool,
) -> None:  # fmt: skip
    """List the requests that failed here, the oldest first; `hipache why ID` tells more of one."""
    if fleet and follow:
        raise click.UsageError("--follow shows this machine only: leave out --all")
    with suppress(KeyboardInterrupt), one_line():
        began = time.time() - since if since else 0.0
        config = read_config(path)
        question = StoryQuestion("", host, began, last)
        told = follow
        for batch in [_of_all(config, question)] if fleet else _batches(config, follow=follow):
            wanted = [
                story
                for story in batch
                if story.at >= began and (host is None or is_of(story, host))
            ]
            for story in wanted[-last:]:
                click.echo(json.dumps(as_object(story)) if as_json else "  ".join(row(story)))
            told = told or bool(wanted)
        if not told:
            click.echo("hipache: no request like this is kept", err=True)


def _of_all(config: Config, question: StoryQuestion) -> list[Story]:
    """What this service keeps, and what other proxies say."""
    check_recorded(config)
    answer = asyncio.run(ask_others(config, question))
    if answer is None:
        raise CommandFailed("--all: this store is of one machine: leave it out")
    if answer.silent:
        click.echo(f"hipache: {answer.unheard}", err=True)
    return answer.stories


def _none_runs(config: Config) -> str:
    if config.source == DEFAULTS:
        return "no service with the defaults runs here: name the file of another one with -c"
    return f"no service of {service_of(config)} runs here"


def _batches(config: Config, *, follow: bool) -> Iterator[list[Story]]:
    """What is kept, and then, with `follow`, what has come since."""
    if not (folders := recorded_by(config)):
        raise CommandFailed(_none_runs(config))
    known = stories(folders, (Kind.FAILED, Kind.REFUSED))
    yield known
    while follow:
        time.sleep(EVERY)
        seen = {story.id for story in known}
        known = stories(recorded_by(config), (Kind.FAILED, Kind.REFUSED))
        yield [story for story in known if story.id not in seen]
