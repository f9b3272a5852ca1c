"""`hipache chp --storage-backend`: two processes share one table, and a third finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chp.programs import ORIGINAL, HubProxy, echo, start, until_ready
from tests.redis_servers import RedisServer, free_port

pytestmark = pytest.mark.skipif(bool(ORIGINAL), reason="the original names a Node module")


@dataclass
class Pair:
    """Two proxies, a target, and where their routes are."""

    one: HubProxy
    other: HubProxy
    target: str
    store: str


@pytest.fixture(scope="module")
def pair(shared_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder, store = tmp_path_factory.mktemp("chp-store"), f"{shared_valkey.url}#storage:"
    with ExitStack() as stack:
        target = f"http://127.0.0.1:{stack.enter_context(echo())}"
        proxies = [
            start(folder, "--storage-backend", store),
            start(folder, environ={"CONFIGPROXY_STORAGE_BACKEND": store}),
        ]
        for proxy in proxies:
            stack.callback(proxy.stop)
        until_ready(proxies)
        yield Pair(*proxies, target, store)


def until_known(proxy: HubProxy, path: str, status: int) -> None:
    while proxy.api("GET", f"/api/routes{path}").status != status:
        pass  # the test's own limit ends it


def test_a_route_is_served_by_both(pair: Pair) -> None:
    pair.one.add("/user/a%40b", pair.target, user="a@b")
    until_known(pair.other, "/user/a%40b", 200)
    assert pair.other.web("/user/a@b/x").json["url"] == "/user/a@b/x"
    assert pair.other.api("GET", "/api/routes").json["/user/a@b"]["user"] == "a@b"
    assert pair.other.api("DELETE", "/api/routes/user/a@b").status == 204
    until_known(pair.one, "/user/a@b", 404)
    assert pair.one.web("/user/a@b/x").status == 404


def test_a_use_of_one_is_known_to_the_other(pair: Pair) -> None:
    pair.one.add("/busy", pair.target)
    until_known(pair.other, "/busy", 200)
    before = pair.one.activity("/busy")
    assert pair.other.web("/busy").status == 200
    while not pair.one.activity("/busy") > before:
        pass


def test_a_restart_loses_nothing(pair: Pair, tmp_path: Path) -> None:
    pair.one.add("/kept", pair.target)
    third = start(tmp_path, "--storage-backend", pair.store)
    try:
        until_ready([third])
        assert third.web("/kept/x").status == 200
    finally:
        third.stop()
    assert pair.one.web("/kept/x").status == 200


def test_without_its_store_it_says_so_and_serves(tmp_path: Path) -> None:
    proxy = start(tmp_path, "--storage-backend", f"redis://:secret@127.0.0.1:{free_port()}")
    try:
        until_ready([proxy])
        assert proxy.web("/x").status == 503
        assert proxy.web("/_chp_healthz").status == 200
        for method, body in (("GET", None), ("POST", '{"target": "http://x"}'), ("DELETE", None)):
            said = proxy.api(method, "/api/routes/x", body)
            assert (said.status, said.body) == (503, b"the route store is unavailable")
        log = proxy.log.read_text()
        assert "store away" in log
        assert "secret" not in log
    finally:
        proxy.stop()
