"""Where the recorders of this machine keep their stories, for the commands that tell them."""

from __future__ import annotations

from pathlib import Path

from ..config.structs import Config
from ..recorder.recorder import service_of
from ..recorder.rings import is_of
from ..system.shared_folder import service_folders
from .failing import CommandFailed


def check_recorded(config: Config) -> None:
    """Raises CommandFailed where nothing is kept."""
    if not config.server.flight_recorder:
        raise CommandFailed(f"{config.source}: server.flightRecorder is off: no request is kept")


def recorded_by(config: Config) -> list[Path]:
    """The folders of the service with this configuration; none if it is ended.

    Raises CommandFailed where nothing is kept, and where this user may read none.
    """
    check_recorded(config)
    folders = service_folders()
    if not folders:
        raise CommandFailed(
            "no service of this user runs on this machine: ask as its user, or as root"
        )
    return [folder for folder in folders if is_of(folder, service_of(config))]
