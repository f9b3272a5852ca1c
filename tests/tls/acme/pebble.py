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
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> Pebble:
        assert PEBBLE
        assert DNS
        name_server = f"127.0.0.1:{self._dns}"
        self._run(
            DNS, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", name_server,
            "-http01", "", "-https01", "", "-tlsalpn01", "",
            "-management", f"127.0.0.1:{self._management}",
        )  # fmt: skip
        config = str(self.folder / "pebble.json")
        self._run(PEBBLE, "-strict", "-config", config, "-dnsserver", name_server)
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return self
                except OSError:
                    await asyncio.sleep(0.01)  # it tells nobody when it listens

    def _run(self, *command: str) -> None:
        environ = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
        with open(self.folder / "pebble.log", "ab") as log:
            none, environ = subprocess.DEVNULL, environ | self.options
            self._processes.append(
                subprocess.Popen(command, env=environ, stdin=none, stdout=log, stderr=log)
            )

    def kill(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._processes.clear()


@asynccontextmanager
async def pebble(folder: Path, http_port: int, **options: str) -> AsyncIterator[Pebble]:
    server = Pebble(folder, http_port, **options)
    try:
        yield await server.start()
    finally:
        server.kill()
