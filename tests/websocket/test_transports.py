"""Over TLS and unix sockets, and under a server that is not ours."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import unix_serve
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from tests.websocket.peers import Backend, after_handshake, backend, echo, echo_backend, silence
from tests.websocket.serving import proxying


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    """The authority's own certificate, as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> str:
    """Key and certificate for both of our names, as a file."""
    path = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1", "ws.test").private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


def serving_tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


@asynccontextmanager
async def unix_echo(path: Path) -> AsyncIterator[Backend]:
    async with unix_serve(echo, str(path), max_size=None, compression=None):
        yield Backend(0)


async def converse(client: ClientConnection) -> None:
    """Small and large both ways, then a close with code and reason."""
    for size in (1, 65536, 4 * 1024 * 1024):
        await client.send(b"x" * size)
        assert await client.recv() == b"x" * size
    await client.close(4001, "done")
    assert (client.close_code, client.close_reason) == (4001, "done")


@pytest.mark.parametrize("http2", ["off", "on"])
async def test_a_backend_behind_tls(mode: str, ca: str, certificate: str, http2: str) -> None:
    async with (
        echo_backend(ssl=serving_tls(certificate)) as there,
        proxying(
            f"https://127.0.0.1:{there.port}",
            mode=mode,
            backend_ca=ca,
            options={"http2": http2},
        ) as proxy,
        proxy.connect() as client,
    ):
        await converse(client)


async def test_a_backend_whose_certificate_is_not_trusted_is_a_502(
    mode: str, certificate: str
) -> None:
    async with (
        echo_backend(ssl=serving_tls(certificate)) as there,
        proxying(f"https://127.0.0.1:{there.port}", mode=mode) as proxy,
    ):
        with pytest.raises(InvalidStatus) as refused:
            await proxy.connect().__aenter__()
    assert refused.value.response.status_code == 502


async def test_a_client_over_tls(mode: str, ca: str, certificate: str) -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode=mode, certificate=certificate) as proxy,
        proxy.connect(ssl=trusting(ca)) as client,
    ):
        await converse(client)


async def test_a_backend_that_vanishes_behind_tls_is_a_bad_gateway(
    mode: str, ca: str, certificate: str
) -> None:
    async with (
        echo_backend(ssl=serving_tls(certificate)) as there,
        proxying(
            f"https://127.0.0.1:{there.port}", mode=mode, backend_ca=ca, certificate=certificate
        ) as proxy,
        proxy.connect(ssl=trusting(ca)) as client,
    ):
        there.vanish()
        await client.wait_closed()
    assert client.close_code == 1014


async def test_a_backend_on_a_unix_socket(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "backend.sock"
    async with (
        unix_echo(path),
        proxying(f"unix:{path}", mode=mode) as proxy,
        proxy.connect() as client,
    ):
        await converse(client)


async def test_the_relay_works_under_stock_uvicorn() -> None:
    async with (
        echo_backend(subprotocols=["chat"]) as there,
        proxying(there.url, stock=True) as proxy,
        proxy.connect("/a%2Fb?c", subprotocols=["chat"]) as client,
    ):
        assert client.subprotocol == "chat"
        await converse(client)


async def test_a_refusal_passes_under_stock_uvicorn() -> None:
    async with proxying(stock=True) as proxy:
        with pytest.raises(InvalidStatus) as refused:
            await proxy.connect().__aenter__()
    assert refused.value.response.status_code == 502
    assert b"Cannot find a valid backend" in refused.value.response.body


async def test_a_client_that_vanishes_under_stock_uvicorn_ends_the_backends_connection() -> None:
    async with (
        backend(after_handshake(silence)) as there,
        proxying(there.url, stock=True) as proxy,
    ):
        wire = await proxy.open()
        wire.frame(Opcode.TEXT, b"hello")
        wire.reset()
        await there.wires[0].done.wait()
