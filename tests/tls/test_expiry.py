"""When certificates end."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.config.structs import Config, parse
from app.errors import StoreUnavailable
from app.tls.certificates import expiry
from app.tls.listener import expiries
from app.tls.store_certificates import stored_expiries
from tests.redis_servers import RedisServer
from tests.tls.authority import AUTHORITY, DEFAULT, EXACT, OTHER, chain, write


@pytest.mark.parametrize(
    "until", [datetime(2049, 12, 31, tzinfo=UTC), datetime(2055, 6, 1, 12, 30, tzinfo=UTC)]
)
def test_when_a_certificate_ends_is_read_from_it(until: datetime) -> None:
    assert expiry(chain(AUTHORITY.issue_cert("a.test", not_after=until))) == until


def test_the_end_of_every_certificate_is_known(tmp_path: Path) -> None:
    server = {"bind": "::", "cert": f"{tmp_path}/default.crt", "key": f"{tmp_path}/default.key"}
    write(tmp_path, "default", DEFAULT)
    write(tmp_path, "a.test", EXACT)
    (tmp_path / "broken.pem").write_text("?")
    binds = parse(json.dumps({"https": server | {"certs": str(tmp_path)}})).https.binds
    found = {os.path.basename(path): end for path, end in expiries(binds)}
    assert found["default.crt"] == expiry(chain(DEFAULT))
    assert found["a.test.crt"] == expiry(chain(EXACT))
    assert found["broken.pem"] == "no certificate in it"
    write(tmp_path, "a.test", OTHER)
    assert dict(expiries(binds))[f"{tmp_path}/a.test.crt"] == expiry(chain(OTHER))


async def test_the_end_of_certificates_in_the_store_is_known(valkey: RedisServer) -> None:
    async with valkey.client as client:
        await client.hset("tls:a.test", mapping={"certificate": chain(EXACT), "key": "secret"})
        await client.hset("tls:*.wild.test", mapping={"certificate": "?", "key": "secret"})
        await client.set("tls:other", "of somebody else")
    first, *others, last = await stored_expiries(Config(driver=(valkey.url,)))
    assert first == ("tls:*.wild.test", "no certificate in it")
    assert others == [("tls:a.test", expiry(chain(EXACT)))]
    assert "WRONGTYPE" in str(last[1])
    assert await stored_expiries(Config(driver=("file:routes.toml",))) == []
    with pytest.raises(StoreUnavailable):
        await stored_expiries(Config(driver=("redis://127.0.0.1:1",)))


async def test_many_certificates_are_read_some_at_a_time(valkey: RedisServer) -> None:
    names = [f"tls:{number}.test" for number in range(1_000)]
    async with valkey.client as client, client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hset(name, "certificate", chain(EXACT))
        await pipe.execute()
        await client.config_resetstat()
        found = await stored_expiries(Config(driver=(f"{valkey.url}",)))
        reads = (await client.info("stats"))["total_reads_processed"]
    assert found == [(name, expiry(chain(EXACT))) for name in sorted(names)]
    assert reads < 100
