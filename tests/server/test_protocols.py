"""Which protocol a connection gets once its handshake is done."""

from pathlib import Path

import pytest

from app.server.protocols import BY_ALPN
from app.tls.listener import ALPN
from tests.redis_servers import RedisServer
from tests.tls.authority import trusting
from tests.tls.serving import secured


def test_there_is_a_protocol_for_every_name_that_tls_offers() -> None:
    assert set(ALPN) == BY_ALPN.keys() - {None}


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"], ["h2"], None])
async def test_a_client_is_served_whatever_it_offers(
    tmp_path: Path, valkey: RedisServer, offered: list[str] | None
) -> None:
    client = trusting()
    if offered:
        client.set_alpn_protocols(offered)
    async with secured(tmp_path, valkey) as here:
        assert (await here.get(context=client)).endswith(b"hi")
