"""Backends with TLS that are offered HTTP/2, and choose it or HTTP/1.1 in the handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from app.config.backend_tls import BackendTLS
from app.config.structs import Config, ServerConfig
from app.errors import UpstreamConnectTimeout, UpstreamCut, UpstreamTLSFailure, UpstreamUnreachable
from app.frontends.backends import offering_http2, parse_backend
from app.upstream import tls_contexts
from app.upstream.client import UpstreamClient
from tests.backends import Conversation, answer, answering, scripted
from tests.upstream.asking import asked, opened
from tests.upstream.conftest import pytest_asyncio_loop_factories
from tests.upstream.http2.backend import Asked, Http2Backend, speaking_http2

__all__ = ["pytest_asyncio_loop_factories"]

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")


def choosing(*protocols: str, certificate: trustme.LeafCert = CERTIFICATE) -> ssl.SSLContext:
    """Chooses the first of `protocols` that is offered; without any it has no ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
async def client(ca: str) -> AsyncIterator[UpstreamClient]:
    server = ServerConfig(max_sockets=20, connect_timeout=10)
    async with UpstreamClient(Config(server=server, backend_tls=BackendTLS(ca=ca))) as client:
        yield client


@pytest.fixture
async def backend() -> AsyncIterator[Http2Backend]:
    async with speaking_http2(tls=choosing("h2", "http/1.1")) as backend:
        yield backend


async def test_requests_share_a_connection_where_the_backend_chooses_http2(
    client: UpstreamClient, backend: Http2Backend
):
    got = await asyncio.gather(*(asked(client, backend.url, http2=True) for _ in range(30)))
    assert {each.status for each in got} == {200}
    assert len(backend.links) == 1
    assert backend.requests[0].fields == [
        (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x.org"), (b":path", b"/"),
    ]  # fmt: skip


@pytest.mark.parametrize("protocols", [["http/1.1"], []], ids=["chooses 1.1", "no ALPN"])
async def test_a_backend_of_http1_is_served_as_ever(client: UpstreamClient, protocols: list[str]):
    async with answering(answer(b"hi"), tls=choosing(*protocols)) as backend:
        got = await asyncio.gather(*(asked(client, backend.url, http2=True) for _ in range(30)))
        assert {each.body for each in got} == {b"hi"}
        accepted = backend.accepted
        assert accepted <= 20  # maxSockets
        for _ in range(5):
            assert (await asked(client, backend.url, http2=True)).connect_time is None
        assert backend.accepted == accepted


async def test_the_first_connection_of_http1_serves_a_request(client: UpstreamClient):
    async with answering(answer(b"hi"), tls=choosing("http/1.1")) as backend:
        await asked(client, backend.url, http2=True)
        await asked(client, backend.url, http2=True)
        assert backend.accepted == 1


async def test_nothing_is_offered_without_the_option(client: UpstreamClient):
    async with answering(answer(b"hi"), tls=choosing("h2", "http/1.1")) as backend:
        assert (await asked(client, backend.url)).body == b"hi"


async def test_kept_connections_with_and_without_the_offer_are_told_apart(
    client: UpstreamClient, backend: Http2Backend
):
    await asked(client, backend.url, http2=True)
    origins = [offering_http2(parse_backend(backend.url, 0), on=on).origin for on in (True, False)]
    pools = client.pools
    assert pools is not None
    assert [pools.find(origin) is not None for origin in origins] == [True, False]


async def test_a_backend_that_learns_http2_is_asked_over_it(client: UpstreamClient):
    tls = choosing("http/1.1")

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"hi", b"Connection: close"))

    async with scripted(script, tls=tls) as old:
        await asyncio.gather(*(asked(client, old.url, http2=True) for _ in range(3)))
        tls.set_alpn_protocols(["h2"])
        # It speaks HTTP/1.1 all the same, which is no HTTP/2: so we were heard to choose it.
        with pytest.raises((UpstreamUnreachable, UpstreamConnectTimeout)):
            await opened(client, old.url, http2=True)


async def test_a_certificate_that_proves_nothing_is_refused(client: UpstreamClient):
    certificate = AUTHORITY.issue_cert("example.org")
    async with speaking_http2(tls=choosing("h2", certificate=certificate)) as backend:
        with pytest.raises(UpstreamTLSFailure, match=r"(?i)certificate") as caught:
            await opened(client, backend.url, http2=True)
        assert not caught.value.request_sent
        assert backend.links == []


async def test_a_connection_of_http1_that_nobody_waits_for_is_closed(client: UpstreamClient):
    gone = asyncio.Event()
    met = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        met.set()
        await conversation.gone()
        gone.set()

    async with scripted(script, tls=choosing("http/1.1")) as backend:
        asking = asyncio.create_task(opened(client, backend.url, http2=True))
        await met.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await gone.wait()


async def test_a_cut_within_tls_is_no_end(client: UpstreamClient, backend: Http2Backend):
    def cut(asked: Asked) -> None:
        asked.head()
        asked.body_part(b"half")
        asked.link.transport.close()

    backend.on_end = cut
    answer = await opened(client, backend.url, http2=True)
    with pytest.raises(UpstreamCut):
        async for _ in answer:
            pass
    await answer.aclose()


async def test_without_the_extra_a_backend_is_asked_over_http1(
    ca: str, monkeypatch: pytest.MonkeyPatch
):
    for module in ("app.upstream.pools", "app.system.http2_extra", tls_contexts.__name__):
        monkeypatch.setattr(f"{module}.has_http2", lambda: False)
    async with (
        answering(answer(b"hi"), tls=choosing("h2", "http/1.1")) as backend,
        UpstreamClient(Config(backend_tls=BackendTLS(ca=ca))) as client,
    ):
        assert (await asked(client, backend.url, http2=True)).body == b"hi"
