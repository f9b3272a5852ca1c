"""The configuration of a command: that of the service here, or of a demo that runs here."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..config.file import DEFAULTS, here, load
from ..config.structs import Config
from ..system.kernel_locks import byte_is_locked, can_lock_bytes, lock_byte

DEMO_FILE = ".hipache/demo.json"
"""What the demo writes in its folder where there is no configuration."""
CONFIG = {
    "driver": "embedded:",
    "http": {"port": 8080, "bind": "127.0.0.1"},
    "server": {"accessLog": "stdout"},
    "user": None,
}
"""What the demo serves where there is no configuration."""


def read_config(path: str | None) -> Config:
    """The configuration of the service that a command is for. Raises ConfigError.

    Without one, it is the demo's while that runs in this folder: its routes are elsewhere than
    those of the defaults.
    """
    config, demo = load(path, os.environ, here()), here() / DEMO_FILE
    if config.source == DEFAULTS and _is_held(demo):
        return load(demo, os.environ, here())
    return config


@contextmanager
def written_config(folder: Path) -> Iterator[str]:
    """A configuration for the demo, where there is none; yields its path.

    A file, so that what the demo tells to type works: it is in .hipache of `folder`, or in a
    folder of its own where that cannot be written to. It is locked until the demo ends.
    """
    path = folder / DEMO_FILE
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(CONFIG, indent=4) + "\n")
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="hipache-demo-")) / "demo.json"
        path.write_text(json.dumps(CONFIG, indent=4) + "\n")
    with path.open("rb") as held:
        if can_lock_bytes():
            lock_byte(held.fileno(), 0, shared=True)
        yield str(path)


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return can_lock_bytes() and byte_is_locked(file.fileno(), 0)
    except OSError:
        return False
