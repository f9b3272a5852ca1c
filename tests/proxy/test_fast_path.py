"""The way below ASGI: backend, client and log see of it what they see of the way through ASGI."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.routing import Frontend, Route
from app.stores.base import Marks
from tests.backends import Conversation, answer, scripted
from tests.proxy.ways import ANSWERS, GET, Way, alike, kept, logged_alike, sending, two_ways
from tests.redis_servers import RedisServer
from tests.serving import PassingOn, Proxy, config_of, serving
from tests.websocket.serving import FixedRoutes


async def test_every_answer_is_the_same_by_both_ways(valkey: RedisServer, tmp_path: Path) -> None:
    async with two_ways(valkey, tmp_path) as ways:
        await alike(ways, ANSWERS)
        assert not any(ways[0].tasks)
    lines = logged_alike(ways)
    assert len(lines) == 2 * len(ANSWERS)
    # "none to GET", "nonsense" on a kept connection; after half a head, or a POST, none.
    assert sum(line["attempts"] - 1 for line in lines) == 2


async def test_a_silent_backend_gets_504(valkey: RedisServer, tmp_path: Path) -> None:
    async with two_ways(valkey, tmp_path, responseTimeout=0.05, retryOnError=0) as ways:
        for way in ways:
            async with kept(way, sending()) as (client, _, host):
                client.send(GET % host)
                assert (await client.response())[0] == 504
                await way.settled()
                assert way.left_behind(host) == []


async def test_requests_sent_ahead_are_answered_in_turn_and_counted_one_by_one(
    valkey: RedisServer, tmp_path: Path
) -> None:
    """With `maxInFlight` 1 the second one is refused unless the first is over by then."""

    async def rest(conversation: Conversation) -> None:
        for text in (b"one", b"two", b"three"):
            await conversation.receive()
            await conversation.send(answer(text))

    async with two_ways(valkey, tmp_path) as ways:
        for way in ways:
            async with kept(way, rest) as (client, _, host):
                client.send(GET % host * 3)
                got = [(await client.response())[2] for _ in range(3)]
                assert got == [b"one", b"two", b"three"]


class Broken(FixedRoutes):
    """Routes whose method of the name `breaks` raises."""

    breaks = ""

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        if self.breaks == "known":
            raise RuntimeError("boom")
        return super().known(host, target)

    def marks_of(self, frontend: Frontend) -> Marks:
        if self.breaks == "marks_of":
            raise RuntimeError("boom")
        return super().marks_of(frontend)


@pytest.mark.parametrize("asgi", [False, True])
@pytest.mark.parametrize(
    "breaks", [pytest.param("known", id="on the way"), pytest.param("marks_of", id="on the answer")]
)
async def test_a_defect_of_ours_is_answered_500_and_told(
    valkey: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    asgi: bool,
    breaks: str,
) -> None:
    log = {"accessLog": str(tmp_path / "log"), "accessLogFormat": "{status} {error}"}

    async def script(conversation: Conversation) -> None:
        while True:
            bad = (await conversation.receive()).line[1] == b"/bad"
            await conversation.send(answer(status=b"502 Bad") if bad else answer(b"x"))

    async with scripted(script) as backend:
        # A second URL of the same one: a frontend's only backend is never judged.
        same = f"http://localhost:{backend.port}"
        routes = Broken(f"http://127.0.0.1:{backend.port}", same, host=b"a.test")
        app = create_app(config_of(valkey, **log), store=routes)
        if asgi:
            app.add_middleware(PassingOn)
        async with serving(app) as port:
            proxy = Proxy(port, valkey, app)
            way = Way(proxy, tmp_path / "log", "way")
            for _ in range(12):  # both have a connection that is kept
                assert b" 200 " in await proxy.get()
            routes.breaks = breaks
            reply = await proxy.get(b"/bad")
            await way.settled()
            routes.breaks = ""
            left = way.left_behind(b"a.test")
            assert b" 200 " in await proxy.get()
    assert reply.startswith(b"HTTP/1.1 500 ")
    assert b"boom" not in reply
    assert left == []
    [told] = [record for record in caplog.records if record.name == "app.server.exchange"]
    assert told.exc_info is not None
    assert isinstance(told.exc_info[1], RuntimeError)
    assert "500 RuntimeError: boom" in (tmp_path / "log").read_text().splitlines()


async def test_only_our_own_application_is_served_below_asgi(valkey: RedisServer) -> None:
    """A middleware sees every request; so does whoever wraps the application."""
    app = create_app(config_of(valkey))
    seen: list[str] = []

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        await app(scope, receive, send)

    async with serving(wrapped) as port, scripted(sending_always) as backend:
        proxy = Proxy(port, valkey)
        await proxy.route("a.test", backend)
        for _ in range(3):
            assert b" 200 " in await proxy.get()
    assert seen.count("http") == 3


async def sending_always(conversation: Conversation) -> None:
    while True:
        await conversation.receive()
        await conversation.send(answer(b"x"))
