"""Where relative paths lead, in whatever folder a command is started. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

import msgspec

OWN_FOLDER = ".hipache"
"""Where most of what we write is, beside a configuration."""


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The folders that relative paths begin at. Empty: where the process was started."""

    folder: str = ""
    """Of the configuration file: certificates, pages, a table of routes."""
    runtime: str = ""
    """Of sockets."""
    state: str = ""
    """Of what Hipache writes and wants to find again."""

    @classmethod
    def of(cls, file: str, environ: Mapping[str, str]) -> Places:
        """Those of a configuration file with an absolute path.

        Sockets and state are beside it, but a folder in /etc holds neither, and one that we wrote
        into our own folder belongs to the folder around it. systemd's `RuntimeDirectory=` and
        `StateDirectory=` win.

        >>> Places.of("/etc/hipache/config.json", {}).state
        '/var/lib/hipache'
        >>> Places.of("/srv/proxy/config.json", {"RUNTIME_DIRECTORY": "/run/a:/run/b"})
        Places(folder='/srv/proxy', runtime='/run/a', state='/srv/proxy')
        """
        folder = posixpath.dirname(file)
        parent, name = posixpath.split(folder)
        of_system = parent == "/etc"
        around = parent if name == OWN_FOLDER else folder
        runtime = f"/run/{name}" if of_system else around
        state = f"/var/lib/{name}" if of_system else around
        return cls(
            folder=folder,
            runtime=environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or runtime,
            state=environ.get("STATE_DIRECTORY", "").partition(":")[0] or state,
        )

    def beside(self, path: str) -> str:
        """A path that is relative to the configuration file."""
        return posixpath.join(self.folder, path)

    def running(self, path: str) -> str:
        """A path of a socket."""
        return posixpath.join(self.runtime, path)

    def kept(self, path: str) -> str:
        """A path of what is written and found again."""
        return posixpath.join(self.state, path)
