"""A running service that listens with TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.backends import ScriptedBackend, answer, answering
from tests.processes import Service, command, write_config
from tests.redis_servers import RedisServer
from tests.tls.authority import DEFAULT, shown_name, trusting, write


class Secured:
    """A running service that listens with TLS, too."""

    def __init__(self, service: Service, backend: ScriptedBackend) -> None:
        self.service = service
        self.backend = backend
        self.port = 0

    async def certificate(self, name: str | None, context: ssl.SSLContext | None = None) -> str:
        """The name in the certificate that a client asking for `name` is shown."""
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or trusting(), server_hostname=name or ""
        )
        shown = shown_name(writer.get_extra_info("ssl_object"))
        writer.transport.abort()
        return shown

    async def talk(self, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
        """Send on a connection of its own, and read up to the close."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or trusting(), server_hostname="a.test"
        )
        writer.write(data)
        reply = await reader.read()
        writer.transport.abort()
        return reply

    async def get(self, target: bytes = b"/", context: ssl.SSLContext | None = None) -> bytes:
        return await self.talk(
            b"GET %b HTTP/1.1\r\nHost: a.test\r\nX-Client-Cert-Subject: CN=forged\r\n"
            b"Connection: close\r\n\r\n" % target,
            context,
        )


def write_tls_config(
    folder: Path, driver: str, server: dict[str, Any] | None = None, **https: Any
) -> None:
    path = write_config(folder, driver, workers=1, **(server or {}))
    write(folder, "default", DEFAULT)
    tls = {"bind": "127.0.0.1", "port": 0, "key": "default.key", "cert": "default.crt"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"https": tls | https}))


@asynccontextmanager
async def secured(folder: Path, valkey: RedisServer, **https: Any) -> AsyncIterator[Secured]:
    write_tls_config(folder, valkey.url, **https)
    async with (
        command("app.cli", "serve", cwd=folder) as service,
        answering(answer(b"hi")) as backend,
    ):
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        here = Secured(service, backend)
        for scheme in ("http", "https"):
            port = int((await service.saw(rf"address=127.0.0.1:(\d+) scheme={scheme}$"))[1])
            (service if scheme == "http" else here).port = port
        await service.saw("worker ready")
        yield here
