"""`hipache check`: says whether a configuration is good, and what it means."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

import click

from ..config.file import DEFAULTS, here, load
from ..config.file import modernise as modernise_file
from ..config.structs import Config, render
from ..doctor.findings import Commands
from ..doctor.service import asked_as, is_closed
from ..errors import EX_CONFIG, ConfigError
from ..proxy.tracing import check_tracing
from ..stores.drivers import driver_of, shown
from ..system.http2_extra import check_http2
from ..tls.acme.installed import check_installed
from ..workers.start_checks import why_not_started
from .cli_options import config_option, json_option


def checked_config(path: str | None) -> Config:
    """The configuration, with all its parts checked. Raises ConfigError."""
    return checked(load(path, os.environ, here()))


def checked(config: Config) -> Config:
    """The same, if it can be used with what is installed. Raises ConfigError."""
    check_tracing(config)
    check_http2(config)
    check_installed(config)
    driver_of(config)
    return config


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """What `--json` prints."""

    good: bool
    """Whether 'hipache serve' would start with it."""
    source: str | None = None
    """The file, or what stands in for one; None where it cannot be used."""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    config: dict[str, object] | None = None
    """All that is in effect, secrets masked; None where the file cannot be used."""


@click.command()
@config_option
@json_option
@click.option(
    "--modernise", is_flag=True,
    help="First rewrite the file with current names; the old one is kept as NAME.old.",
)  # fmt: skip
def check(path: str | None, *, as_json: bool, modernise: bool) -> None:
    """Say whether the configuration is good, and print what it means, secrets masked.

    Nothing is started or changed. Exit status 78 if 'hipache serve' would not start with it.
    """
    try:
        if modernise:
            kept = modernise_file(path, os.environ, here())
            click.echo(f"rewritten; the old file is {kept}", err=True)
        config = checked_config(path)
        verdict = _verdict(config)
    except ConfigError as exc:
        verdict = CheckVerdict(False, problems=(str(exc),))
    if as_json:
        click.echo(json.dumps(asdict(verdict), indent=4))
    else:
        _tell(verdict)
        if verdict.problems and verdict.config is not None and is_closed(config):
            ask = f"{asked_as(config)} {Commands(path).hipache('check')}"
            click.echo(f"the service is another user's: {ask}", err=True)
    sys.exit(0 if verdict.good else EX_CONFIG)


def _verdict(config: Config) -> CheckVerdict:
    problems = tuple(why_not_started(config))
    values = json.loads(render(config, drivers=shown(config)))
    return CheckVerdict(not problems, config.source, problems, tuple(config.warnings), values)


def _tell(verdict: CheckVerdict) -> None:
    """The values go to stdout, so that they can be kept; all else to stderr."""
    if verdict.config is not None:
        click.echo(json.dumps(verdict.config, indent=4))
    for warning in verdict.warnings:
        click.echo(f"warning: {warning}", err=True)
    for problem in verdict.problems:
        click.echo(f"hipache: {problem}", err=True)
    if verdict.source is not None:
        none = verdict.source == DEFAULTS
        named = "no config.json here: the defaults are" if none else f"{verdict.source} is"
        click.echo(f"{named} {'good' if verdict.good else 'not good'}", err=True)
