"""Let's Encrypt's own test CA, where Debian's packages `pebble` are installed. Loopback only."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.ports import free_port

PEBBLE, DNS = shutil.which("pebble"), shutil.which("pebble-challtestsrv")
needs_pebble = pytest.mark.skipif(
    not (PEBBLE and DNS), reason="pebble is not installed: apt-get install pebble"
)


class Pebble:
    """A CA whose every name is 127.0.0.1. It forgets everything when it ends."""

    def __init__(self, folder: Path, http_port: int, **options: str) -> None:
        """`http_port`: where it asks for challenges. `options`: more of its environment."""
        self.folder, self.options = folder, options
        self.port, self._dns, self._management = free_port(), free_port(), free_port()
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "directory-ca.pem"))
        self.ca = str(folder / "directory-ca.pem")
        cert = authority.issue_cert("127.0.0.1")
        cert.private_key_pem.write_to_path(str(folder / "pebble.key"))
        cert.cert_chain_pems[0].write_to_path(str(folder / "pebble.crt"))
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{free_port()}",
            "certificate": str(folder / "pebble.crt"), "privateKey": str(folder / "pebble.key"),
            "httpPort": http_port, "tlsPort": free_port(),
            "ocspResponderURL": "", "externalAccountBindingRequired": False,
        }  # fmt: skip
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        self._ca: subprocess.Popen[bytes] | None = None
        self._names: subprocess.Popen[bytes] | None = None

    async def start(self) -> Pebble:
        """With its names, which stay when it is killed and started again."""
        assert PEBBLE
        assert DNS
        name_server = f"127.0.0.1:{self._dns}"
        if self._names is None:
            self._names = self._run(
                DNS, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", name_server,
                "-http01", "", "-https01", "", "-tlsalpn01", "",
                "-management", f"127.0.0.1:{self._management}",
            )  # fmt: skip
        config = str(self.folder / "pebble.json")
        self._ca = self._run(PEBBLE, "-strict", "-config", config, "-dnsserver", name_server)
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return self
                except OSError:
                    assert self._ca.poll() is None, self.log
                    await asyncio.sleep(0.01)  # it tells nobody when it listens

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
        with open(self.folder / "pebble.log", "ab") as log:
            none, environ = subprocess.DEVNULL, environ | self.options
            return subprocess.Popen(command, env=environ, stdin=none, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return (self.folder / "pebble.log").read_text()

    @property
    def ordered(self) -> int:
        """Orders, in all its lives."""
        return self.log.count("Added order")

    @property
    def issued(self) -> int:
        """Certificates, in all its lives."""
        return self.log.count("Issued certificate")

    def names(self, number: signal.Signals) -> None:
        """A signal to the process that knows names: without it a validation waits."""
        assert self._names is not None
        self._names.send_signal(number)

    def kill(self) -> None:
        """It is away, and forgets accounts and orders. Names stay."""
        _kill(self._ca)
        self._ca = None

    def close(self) -> None:
        self.kill()
        _kill(self._names)


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()


@asynccontextmanager
async def pebble(folder: Path, http_port: int, **options: str) -> AsyncIterator[Pebble]:
    server = Pebble(folder, http_port, **options)
    try:
        yield await server.start()
    finally:
        server.close()
