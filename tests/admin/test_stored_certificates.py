"""The store's certificates, as the metrics show them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.admin.stored_certificates import StoredCertificates
from app.config.acme import AcmeConfig
from app.config.binds import HttpsBind, HttpsConfig
from app.config.structs import Config
from app.stores import driver_of
from app.stores.issuance import IssuanceState
from tests.redis_servers import RedisServer
from tests.tls.authority import EXACT, chain, private

STATE = IssuanceState(error="dns", not_before=123.0)


@pytest.mark.parametrize("kind", ["redis", "file"])
async def test_ends_and_failures_are_read(kind: str, valkey: RedisServer, tmp_path: Path) -> None:
    driver = valkey.url if kind == "redis" else f"file:{tmp_path}/routes.toml"
    acme = AcmeConfig(agree=True, directory="https://127.0.0.1:1/", folder=str(tmp_path / "acme"))
    binds = (HttpsBind(address="127.0.0.1", port=0),)
    config = Config(driver=(driver,), https=HttpsConfig(acme=acme, binds=binds))
    store = driver_of(config).issuance(acme.folder, timeout=5)
    await store.hold("one", 60)
    await store.finish(
        "one", "a.test", "", (chain(EXACT).decode(), private(EXACT).decode()), "here"
    )
    await store.fail("one", "b.test", STATE)
    found = StoredCertificates(config)
    assert (found.soonest(), list(found.failing())) == ([], [])
    assert found._reading is not None
    await found._reading
    [(name, end)] = found.soonest()
    assert (name, end > datetime.now(UTC)) == ("tls:a.test", True)
    assert list(found.failing()) == [("tls:b.test", 123.0)]
    await store.aclose()
