"""Proxies that get certificates by themselves, from a CA on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from cryptography import x509

from tests.processes import Service, command, write_config


def trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


ANYBODY = trusting_anybody()


class Proxy:
    """A running service with its two ports."""

    def __init__(self, service: Service, http: int, https: int) -> None:
        self.service, self.http, self.https = service, http, https

    async def certificate(self, name: str, *, within: float = 15.0) -> x509.Certificate:
        """What a client that asks for `name` is shown, whoever signed it."""
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", self.https, ssl=ANYBODY, server_hostname=name
            )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(shown)


def kill_all(one: Proxy) -> None:
    family = psutil.Process(one.service.pid)
    for each in (*family.children(recursive=True), family):
        os.kill(each.pid, signal.SIGKILL)


def names_in(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return list(names.value.get_values_for_type(x509.DNSName))


def write_acme_config(
    folder: Path,
    driver: str,
    acme: dict[str, Any],
    *,
    http: int = 0,
    workers: int = 2,
    **https: Any,
) -> None:
    folder.mkdir(exist_ok=True)
    path = write_config(folder, driver, workers=workers)
    values = json.loads(path.read_text())
    values["http"] = {"bind": "127.0.0.1", "port": http}
    values["https"] = {"bind": "127.0.0.1", "port": 0, "acme": {"agree": True} | acme} | https
    path.write_text(json.dumps(values))


@asynccontextmanager
async def proxy(
    folder: Path,
    driver: str,
    acme: dict[str, Any],
    *,
    http: int = 0,
    workers: int = 2,
    **https: Any,
) -> AsyncIterator[Proxy]:
    assert acme["directory"].startswith("https://127.0.0.1:")  # nowhere else, whatever happens
    write_acme_config(folder, driver, acme, http=http, workers=workers, **https)
    async with command("app.cli", "serve", cwd=folder) as service:
        ports = {}
        for scheme in ("http", "https"):
            port = await service.saw(rf"address=127.0.0.1:(\d+) scheme={scheme}$")
            ports[scheme] = int(port[1])
        for _ in range(workers):
            await service.saw("worker ready")
        yield Proxy(service, ports["http"], ports["https"])
