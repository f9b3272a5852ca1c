"""The same protocol behind TLS: the scheme, the forms that need it, and the ends it has."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.server.serving import Client, Recorder, Served, answer, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """uvicorn's options for a certificate."""
    certificate = authority.issue_cert("a.test")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "a.pem")
    return {"ssl_certfile": str(tmp_path / "a.pem")}


async def connect(served: Served, authority: trustme.CA) -> Client:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = Client(
        *await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=context, server_hostname="a.test"
        )
    )
    served.clients.append(client)
    return client


@pytest.mark.parametrize("target", [b"/p", b"https://a.test/p", b"https://a.test:443/p"])
async def test_an_https_target_is_served(
    authority: trustme.CA, tls: dict[str, Any], target: bytes
) -> None:
    app = Recorder()
    async with serving(app, **tls) as served:
        client = await connect(served, authority)
        client.send(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
        assert (await client.response())[0] == 200
    assert (app.scopes[0]["scheme"], app.scopes[0]["raw_path"]) == ("https", b"/p")


async def test_a_refusal_is_read_before_the_close(
    authority: trustme.CA, tls: dict[str, Any]
) -> None:
    async with serving(Recorder(), **tls) as served:
        client = await connect(served, authority)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_closes_is_gone(authority: trustme.CA, tls: dict[str, Any]) -> None:
    running, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["hipache.exchange"].on_disconnect(left.set)
        running.set()
        await left.wait()

    async with serving(app, **tls) as served:
        client = await connect(served, authority)
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await running.wait()
        client.writer.close()
        await left.wait()


async def test_a_large_answer_goes_through(authority: trustme.CA, tls: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, bytes(3_000_000))

    async with serving(app, **tls) as served:
        client = await connect(served, authority)
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        assert len((await client.response())[2]) == 3_000_000
