"""Which protocol a connection gets once its handshake is done."""

from pathlib import Path

import pytest

from app.config.binds import TLSSettings
from app.server.protocols import BY_ALPN
from app.tls.listener import offered
from tests.redis_servers import RedisServer
from tests.server.http2.frames import head, speaking
from tests.tls.authority import trusting
from tests.tls.serving import secured


def test_there_is_a_protocol_for_every_name_that_tls_offers() -> None:
    assert set(offered(TLSSettings(http2=True))) == BY_ALPN.keys() - {None}


@pytest.mark.parametrize("names", [["http/1.1"], ["spdy/3", "http/1.1"], ["spdy/3"], None])
async def test_a_client_without_http2_is_served(
    tmp_path: Path, valkey: RedisServer, names: list[str] | None
) -> None:
    client = trusting()
    if names:
        client.set_alpn_protocols(names)
    async with secured(tmp_path, valkey) as here:
        assert (await here.get(context=client)).endswith(b"hi")


@pytest.mark.parametrize("names", [["h2", "http/1.1"], ["http/1.1", "h2"], ["h2"]])
async def test_http2_is_taken_before_http1(
    tmp_path: Path, valkey: RedisServer, names: list[str]
) -> None:
    client = trusting()
    client.set_alpn_protocols(names)
    async with secured(tmp_path, valkey) as here, speaking(here.port, tls=client) as connection:
        connection.request(1, head())
        got = await connection.answer(1)
        assert (got.status, got.body) == (200, b"hi")
        assert b"\r\nx-forwarded-proto: https\r\n" in here.backend.requests[0].head.lower()


async def test_http2_may_be_switched_off(tmp_path: Path, valkey: RedisServer) -> None:
    client = trusting()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with secured(tmp_path, valkey, http2=False) as here:
        assert (await here.get(context=client)).endswith(b"hi")
