"""Where one proxy of a run listens, what it proxies to, and how its configuration is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HOST_PATTERN = "host-%d.example"
HOSTS = tuple(HOST_PATTERN % index for index in range(1000))
"""Virtual hosts that every proxy knows, all on the one HTTP backend."""
ECHO_HOST = "echo.example"
"""The virtual host of the WebSocket echo server."""

SMALL_BODY = "x" * 105
LARGE_BYTES = 1 << 20

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Site:
    """One proxy's place in a run."""

    port: int
    backend: int
    """Port of the HTTP backend."""
    echo: int
    """Port of the WebSocket echo server."""
    folder: Path
    """Holds what the proxy writes: configuration, logs, sockets."""
    core: int
    """What the proxy is pinned to."""
    load_core: int
    """What the load, the backends and a proxy's database are pinned to."""
    runner: tuple[str, ...] = ()
    """A command that runs the proxy's command: a measuring tool."""

    @property
    def log(self) -> Path:
        """What the proxy says."""
        return self.folder / "output.log"

    def write(self, template: str, **more: object) -> Path:
        """Fill in `configs/<template>` and return where the result lies."""
        return fill_in(
            template,
            self.folder,
            PORT=self.port,
            BACKEND=self.backend,
            ECHO=self.echo,
            HOSTS=" ".join(HOSTS),
            ECHO_HOST=ECHO_HOST,
            **more,
        )


def fill_in(template: str, folder: Path, **values: object) -> Path:
    """Replace each `@NAME@` of `configs/<template>`; the result is `folder/<template>`."""
    text = (CONFIGS / template).read_text()
    # nginx started by root would else serve as a user who may not read our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    for name, value in {"FOLDER": folder, "USER": user, **values}.items():
        text = text.replace(f"@{name}@", str(value))
    target = folder / template
    target.write_text(text)
    return target
