"""`hipache doctor`: what is wrong here, what it means, and the command that fixes it."""

from __future__ import annotations

import asyncio
import sys
import time

import click

from ..config.structs import Config
from ..doctor import (
    certificates,
    findings,
    machine,
    ordering,
    ports,
    receivers,
    service,
    settings,
    store,
    unreachable,
)
from ..doctor.findings import Commands, Finding
from ..errors import ConfigError
from .check import checked
from .cli_options import config_option, json_option
from .demo_config import read_config
from .waiting import looking

STORE_ANSWERS_WITHIN = 5.0
"""Seconds for each answer of the store."""


@click.command()
@config_option
@click.option(
    "--sample", type=click.IntRange(1), metavar="N",
    help="Look at N frontends of the store, whichever come first, not at all of them.",
)  # fmt: skip
@json_option
def doctor(path: str | None, *, sample: int | None, as_json: bool) -> None:
    """Look for problems of the configuration, this machine and the store.

    Changes nothing. Says what each finding means and which command fixes it.
    Exit status: 0 for nothing worse than notes, 1 for warnings, 2 for errors.
    """
    commands = Commands(path)
    try:
        config = checked(read_config(path))
    except ConfigError as exc:
        found, looked_at = [settings.refused(exc)], ["the configuration"]
    else:
        found, looked_at = _look(config, commands, sample)
    found = findings.in_order(found)
    if as_json:
        click.echo(findings.as_json(found, looked_at))
    else:
        click.echo("\n".join(findings.as_text(found, looked_at)))
    sys.exit(findings.worst(found))


def _look(
    config: Config, commands: Commands, sample: int | None
) -> tuple[list[Finding], list[str]]:
    pid, closed = service.running(config), service.is_closed(config)
    found = [
        *settings.look(config, commands),
        *machine.of_user(config),
        *machine.of_files(config, pid),
        *service.of_closed(config),
        *(() if closed else ports.of_ports(config, pid)),
        *(() if closed else ports.of_admin(config, pid)),
        *certificates.look(config),
        *receivers.look(config),
    ]
    with looking() as looked_at:
        of_store, name = asyncio.run(
            store.look(
                config,
                commands,
                timeout=STORE_ANSWERS_WITHIN,
                lost=unreachable.look(config, time.time()),
                sample=sample,
                looked_at=looked_at,
            )
        )
    found = [*found, *of_store, *asyncio.run(ordering.look(config, commands))]
    found += settings.of_start(config, found)
    found = [*service.of_others(found)] if closed else found
    here = "this machine" if pid is None else f"the service that runs here (pid {pid})"
    return found, [config.source, here, name]
