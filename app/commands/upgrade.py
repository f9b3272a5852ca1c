"""`hipache upgrade`: makes the running service hand over to the installed version."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import click

from ..errors import ConfigError, HipacheError
from ..workers.status import ServiceReport, ask
from .cli_options import config_option
from .demo_config import read_config
from .waiting import waiting

PROGRESS_EVERY = 0.1
"""Seconds between two questions about the progress."""
UPGRADE_TIMEOUT = 120.0
"""Seconds to wait for an upgrade; the service itself waits less for a new version."""


class UpgradeFailed(HipacheError):
    """The old version keeps serving; the text says why."""


@click.command()
@config_option
def upgrade(path: str | None) -> None:
    """Replace the running service by the version that is installed now.

    The new version starts on the same sockets and serves before the old one drains: no
    request is lost, no connection refused. If it cannot serve, the old one continues, and this
    command says why. Exit status: 0 if the new version serves, else 1.
    """
    try:
        config = read_config(path)
        if config.server.status_socket is None:
            raise ConfigError(f"{config.source}: server.statusSocket is null: no status to ask for")
        with waiting("waiting for the new version to serve"):
            done = _upgrade(config.server.status_socket)
        click.echo(done)
    except HipacheError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(1)


def _upgrade(path: str) -> str:
    """What was done. Raises UpgradeFailed, and ConfigError if no service runs."""
    before = ask(path)
    running = _progress(before)
    if running["pid"] is not None:
        raise UpgradeFailed(f"an upgrade is running already, to pid {running['pid']}")
    try:
        os.kill(before["pid"], signal.SIGUSR2)
    except PermissionError:
        raise UpgradeFailed(f"pid {before['pid']} belongs to another user") from None
    except ProcessLookupError:
        raise UpgradeFailed(f"pid {before['pid']} has just ended") from None
    deadline = time.monotonic() + UPGRADE_TIMEOUT
    while time.monotonic() < deadline:
        now = ask(path)
        if now["pid"] != before["pid"]:
            return (
                f"pid {now['pid']} serves, version {now['version']}; "
                f"pid {before['pid']} drains, version {before['version']}"
            )
        progress = _progress(now)
        if progress["begun"] > running["begun"] and progress["failed"] is not None:
            raise UpgradeFailed(
                f"the upgrade failed, version {before['version']} serves on: {progress['failed']}"
            )
        time.sleep(PROGRESS_EVERY)
    raise UpgradeFailed(f"the service reported no result within {UPGRADE_TIMEOUT:.0f} s")


def _progress(report: ServiceReport) -> dict[str, Any]:
    """The progress of upgrades. Raises UpgradeFailed."""
    found = report.get("upgrade")
    if not isinstance(found, dict):
        raise UpgradeFailed("the version that runs cannot be upgraded while it serves: restart it")
    return found
