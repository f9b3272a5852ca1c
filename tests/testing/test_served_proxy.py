"""The proxy of a test leaves the machine alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.config.parsed import AccessLogTarget
from app.config.structs import Config, ServerConfig, parse
from app.testing import ServedProxy, config_for_tests


def test_its_configuration_writes_nothing_and_listens_nowhere() -> None:
    config = config_for_tests({"server": {"retryOnError": 0}})
    server = config.server
    assert (server.access_log, server.snapshot, server.status_socket) == (None, None, None)
    assert config.admin.bind is None
    assert server.retry_on_error == 0


@pytest.mark.parametrize(
    ("address", "refused"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("::1", False), ("192.0.2.1", True),
     ("8.8.8.8", True), ("2001:db8::1", True), ("::ffff:10.0.0.1", True), ("0.0.0.0", True)],
)  # fmt: skip
def test_it_connects_to_loopback_only(address: str, refused: bool) -> None:
    deny = config_for_tests().server.deny_backends.value
    assert deny.refuses(address) is refused


def status_of(proxy: ServedProxy) -> int:
    async def ask() -> int:
        async with proxy.client() as client:
            return (await client.get("/")).status_code

    return asyncio.run(ask())


def test_without_routes_it_knows_no_host_and_asks_no_store() -> None:
    assert status_of(ServedProxy()) == 400


def test_names_are_not_resolved(caplog: pytest.LogCaptureFixture) -> None:
    proxy = ServedProxy()
    proxy.routes["testserver"] = ["http://shop.internal:8000"]
    assert status_of(proxy) == 502
    assert "mock it with respx" in caplog.text


def test_a_configuration_in_code_writes_no_access_log() -> None:
    assert Config().server.access_log is None
    chosen = Config(server=ServerConfig(access_log=AccessLogTarget("stdout")))
    assert str(chosen.server.access_log) == "stdout"
    assert str(parse("{}").server.access_log) == "/var/log/hipache/access.log"


def test_a_driver_in_code_may_be_one_url(tmp_path: Path) -> None:
    assert Config(driver=f"file:{tmp_path}/routes").driver == (f"file:{tmp_path}/routes",)  # type: ignore[arg-type]
    assert Config(driver=("redis://a", "redis://b")).driver == ("redis://a", "redis://b")
