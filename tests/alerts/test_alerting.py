"""Messages about backends and the store, to real receivers on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.alerts import only_backends, watching
from app.alerts import receiver as receiver_module
from app.alerts.alert_events import AlertEvent
from app.alerts.alerting import alerting
from app.alerts.receiver import MOST_WAITING, AlertReceiver
from app.config.alerts import Alert, AlertKind, AlertURL
from app.config.structs import Config
from app.routing import Mark
from app.stores.mark_news import MarkNews
from app.system import machine_claims
from app.testing.dict_routes import DictRoutes
from app.upstream.client import UpstreamClient
from tests.backends import (
    Conversation,
    Received,
    ScriptedBackend,
    answer,
    answering,
    refusing,
    scripted,
)
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.serving import proxying

SECRET = "not so secret"
A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of this test alone, and messages at once."""
    monkeypatch.setattr(machine_claims, "memory_folder", lambda: tmp_path)
    monkeypatch.setattr(receiver_module, "COLLECT", 0.0)
    monkeypatch.setattr(receiver_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(only_backends, "LOOK_EVERY", 0.05)


@asynccontextmanager
async def receiving(*statuses: bytes) -> AsyncIterator[ScriptedBackend]:
    """Answers with these statuses, the last one for ever; an empty one resets."""
    said = list(statuses)

    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            status = said.pop(0) if len(said) > 1 else said[0]
            if not status:
                return conversation.reset()
            await conversation.send(answer(status=status))

    async with scripted(script) as backend:
        yield backend


def told(*messages: Received) -> list[tuple[str, str]]:
    """Event and backend, in the order in which they came."""
    events = [event for message in messages for event in json.loads(message.body)["events"]]
    return [(event["event"], event.get("backend", "")) for event in events]


async def test_a_fleet_tells_a_death_and_the_return_once_and_signed(valkey: RedisServer) -> None:
    port = free_port()
    gone = f"http://127.0.0.1:{port}"
    async with receiving(b"204 No Content") as receiver, answering(answer(b"in")) as there:
        alerts = [{"url": f"{receiver.url}/hook?token=1", "secret": SECRET}]
        server = {"deadBackendTTL": 0.1, "deadBackendMaxTTL": 0.1}
        async with (
            proxying(valkey, alerts=alerts, **server) as one,
            proxying(valkey, alerts=alerts, **server) as other,
        ):
            await one.route("a.test", gone, there)

            async def asked() -> None:
                for _ in range(3):
                    await asyncio.gather(*(each.get() for each in (one, other) for _ in range(4)))

            while not receiver.requests:
                await asked()
            await asked()
            async with answering(answer(b"in"), port=port):
                while len(receiver.requests) < 2:
                    await asked()
                await asked()
        assert told(*receiver.requests) == [("dead", gone), ("alive", gone)]
        for message in receiver.requests:
            stamp = message.get(b"x-hipache-timestamp") or b""
            right = hmac.new(SECRET.encode(), stamp + b"." + message.body, hashlib.sha256)
            assert message.get(b"x-hipache-signature") == f"sha256={right.hexdigest()}".encode()
            assert message.line == (b"POST", b"/hook?token=1")
        event = json.loads(receiver.requests[0].body)["events"][0]
        assert event["frontend"] == "a.test"
        assert event["cause"] in event["text"]


@asynccontextmanager
async def alerts_to(
    *receivers: ScriptedBackend,
    routes: DictRoutes,
    pause: float = 60.0,
    on: tuple[AlertKind, ...] = ("dead", "alive"),
) -> AsyncIterator[MarkNews]:
    config = Config(
        alerts=tuple(Alert(url=AlertURL(each.url), pause=pause, on=on) for each in receivers)
    )
    async with (
        UpstreamClient(config) as client,
        alerting(config, routes, client, None, MarkNews()) as news,
    ):
        yield news


async def test_what_flaps_is_told_twice_in_a_pause_and_how_it_is_after_it() -> None:
    routes = DictRoutes({"a.test": [A, B]})
    frontend = (await routes.find("a.test")).frontend
    backend = frontend.backends[0]
    async with (
        receiving(b"200 OK") as receiver,
        alerts_to(receiver, routes=routes, pause=1.0) as news,
    ):
        for _ in range(20):
            news.dead(frontend, backend, "refused", True)
            news.alive(frontend, backend)
        news.dead(frontend, backend, "refused", False)  # a trial that failed is no news
        routes.mark_dead(frontend, backend, Mark(2e9, 1.0, "it is gone", "web1"))
        await receiver.until(lambda it: len(told(*it.requests)) == 3)
        assert told(*receiver.requests) == [("dead", A), ("alive", A), ("dead", A)]
        assert json.loads(receiver.requests[-1].body)["events"][0]["cause"] == "it is gone"


async def test_a_message_is_repeated_until_it_is_taken_and_others_do_not_wait() -> None:
    routes = DictRoutes({"a.test": [A, B]})
    frontend = (await routes.find("a.test")).frontend
    async with (
        receiving(b"500 Broken", b"", b"429 Slow Down", b"204 No Content") as broken,
        receiving(b"404 Not Found") as wrong,
        receiving(b"200 OK") as good,
        alerts_to(broken, wrong, good, routes=routes) as news,
    ):
        news.dead(frontend, frontend.backends[0], "refused", True)
        await good.until(lambda it: len(it.requests) == 1)
        await broken.until(lambda it: len(it.requests) == 4)
        assert len({each.get(b"x-hipache-delivery") for each in broken.requests}) == 1
        assert len({each.body for each in broken.requests}) == 1
    assert len(wrong.requests) == 1


async def test_a_frontend_that_sleeps_and_one_without_the_backend_are_not_told() -> None:
    routes = DictRoutes()
    routes.set("asleep.test", A, options={"wake": "http://127.0.0.1:7000/"})
    routes.set("asleep.test/api", B)  # it inherits its host's `wake`
    routes.set("a.test", A, B)
    asleep = (await routes.find("asleep.test")).frontend
    below = (await routes.find("asleep.test", b"/api")).frontend
    frontend = (await routes.find("a.test")).frontend
    async with (
        receiving(b"200 OK") as receiver,
        alerts_to(receiver, routes=routes, pause=0.1) as news,
    ):
        news.dead(asleep, asleep.backends[0], "refused", True)
        news.alive(asleep, asleep.backends[0])
        news.dead(below, below.backends[0], "refused", True)
        news.alive(below, below.backends[0])
        news.dead(frontend, frontend.backends[0], "refused", True)
        routes.set("a.test", B)  # it is taken from the list: its end is no return
        await receiver.until(lambda it: len(it.requests) == 1)
        news.dead(frontend, frontend.backends[1], "refused", True)
        routes.mark_dead(frontend, frontend.backends[1], Mark(2e9, 1.0, "refused", "web1"))
        await receiver.until(lambda it: len(it.requests) == 2)
    assert told(*receiver.requests) == [("dead", A), ("dead", B)]


async def test_a_prefix_sleeps_as_its_host_does(valkey: RedisServer) -> None:
    async with (
        receiving(b"204 No Content") as receiver,
        receiving(b"204 No Content") as waker,
        refusing() as gone,
        refusing() as other,
        proxying(valkey, alerts=[{"url": receiver.url}]) as proxy,
    ):
        async with valkey.client as store:
            await store.hset("options:asleep.test", "wake", waker.url)
            await store.hset("options:asleep.test", "wakeTimeout", "0.1")
            await store.sadd("paths:asleep.test", "/api")
        await proxy.route("asleep.test/api", gone)
        await proxy.route("a.test", gone, other)
        assert (await proxy.get(b"/api", b"asleep.test")).startswith(b"HTTP/1.1 503 ")
        await waker.until(lambda it: bool(it.requests))
        await proxy.get()
        await receiver.until(lambda it: bool(it.requests))
        events = json.loads(receiver.requests[0].body)["events"]
    assert {event["frontend"] for event in events} == {"a.test"}


async def test_a_fleet_tells_of_the_only_backend_of_a_frontend_once(valkey: RedisServer) -> None:
    port = free_port()
    gone = f"http://127.0.0.1:{port}"
    async with (
        receiving(b"204 No Content") as receiver,
        refusing() as other,
        proxying(valkey, alerts=[{"url": receiver.url}]) as one,
        proxying(valkey, alerts=[{"url": receiver.url}]) as two,
    ):
        await one.route("a.test", gone)
        await one.route("b.test", other)
        while not receiver.requests:
            assert (await one.get()).startswith(b"HTTP/1.1 502 ")
            assert (await two.get()).startswith(b"HTTP/1.1 502 ")
        async with answering(answer(b"in", status=b"404 Not Found"), port=port) as back:
            await receiver.until(lambda it: len(it.requests) == 2)  # without a visitor
            assert {each.line for each in back.requests} == {(b"HEAD", b"/")}
            assert back.requests[0].get(b"host") == b"a.test"
        await two.get(b"/", b"b.test")
        await receiver.until(lambda it: len(it.requests) == 3)
        async with valkey.client as store:
            assert not await store.keys("*dead*")
    assert told(*receiver.requests) == [("dead", gone), ("alive", gone), ("dead", other)]
    event = json.loads(receiver.requests[0].body)["events"][0]
    assert event["cause"] == "cannot connect to the backend: Connection refused"


async def test_an_only_backend_is_told_if_it_is_still_dead_and_in_the_list() -> None:
    routes = DictRoutes()
    async with (
        receiving(b"200 OK") as receiver,
        answering(answer(b"in")) as back,
        refusing() as gone,
        alerts_to(receiver, routes=routes) as news,
    ):
        routes.set("restarts.test", back.url)
        routes.set("removed.test", gone)
        routes.set("asleep.test", gone)
        routes.set("a.test", gone)
        for key in ("restarts.test", "removed.test", "asleep.test", "a.test", "a.test"):
            frontend = (await routes.find(key)).frontend
            news.only_failed(frontend, frontend.backends[0])
        del routes["removed.test"]
        routes.set("asleep.test", gone, options={"wake": "http://127.0.0.1:7000/"})
        await back.until(lambda it: len(it.requests) == 1)
        await receiver.until(lambda it: len(it.requests) == 1)
        # All four looks were begun before this one.
        routes.set("b.test", gone)
        frontend = (await routes.find("b.test")).frontend
        news.only_failed(frontend, frontend.backends[0])
        await receiver.until(lambda it: len(told(*it.requests)) == 2)
    events = [event for each in receiver.requests for event in json.loads(each.body)["events"]]
    assert [(each["event"], each["frontend"]) for each in events] == [
        ("dead", "a.test"),
        ("dead", "b.test"),
    ]


async def test_an_only_backend_that_flaps_is_told_as_it_is_after_the_pause() -> None:
    port = free_port()
    routes = DictRoutes({"a.test": [f"http://127.0.0.1:{port}"]})
    frontend = (await routes.find("a.test")).frontend
    backend = frontend.backends[0]
    async with (
        receiving(b"200 OK") as receiver,
        alerts_to(receiver, routes=routes, pause=1.0) as news,
    ):
        news.only_failed(frontend, backend)
        await receiver.until(lambda it: len(it.requests) == 1)
        async with answering(answer(b"in"), port=port):
            await receiver.until(lambda it: len(it.requests) == 2)
        news.only_failed(frontend, backend)  # it died again
        await receiver.until(lambda it: len(it.requests) == 3)
        events = [json.loads(each.body)["events"][0]["event"] for each in receiver.requests]
    assert events == ["dead", "alive", "dead"]


async def test_a_worker_looks_at_so_many_only_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(only_backends, "MOST_LOOKED_AT", 1)
    async with (
        receiving(b"200 OK") as receiver,
        answering(answer(b"in")) as first,
        answering(answer(b"in")) as beyond,
        alerts_to(receiver, routes=(routes := DictRoutes()), on=("alive",)) as news,
    ):
        for key, url in (("a.test", first.url), ("b.test", beyond.url)):
            routes.set(key, url)
            frontend = (await routes.find(key)).frontend
            news.only_failed(frontend, frontend.backends[0])
        await first.until(lambda it: bool(it.requests))
    assert not beyond.requests


async def test_nobody_looks_where_no_receiver_wants_to_hear_of_backends() -> None:
    async with (
        receiving(b"200 OK") as receiver,
        alerts_to(receiver, routes=DictRoutes(), on=("store",)) as news,
    ):
        assert news.only_failed is MarkNews().only_failed


async def test_events_beyond_what_may_wait_are_counted_and_their_number_is_told() -> None:
    counts: list[str] = []
    async with receiving(b"200 OK") as backend, UpstreamClient(Config()) as client:
        alert = Alert(url=AlertURL(backend.url))
        receiver = AlertReceiver(alert, client, counts.append, "web1:1")
        for number in range(MOST_WAITING + 7):
            receiver.put(AlertEvent(kind="dead", subject="", state="", text=str(number), at=1.0))
        task = asyncio.create_task(receiver.run())
        await receiver.idle.wait()
        task.cancel()
        messages = [json.loads(each.body) for each in backend.requests]
    assert counts == ["lost"] * 7 + ["sent"] * 10
    assert [len(each["events"]) for each in messages] == [100] * 10
    assert [each["lost"] for each in messages] == [7] + [0] * 9
    assert messages[0]["text"] == "0\n1\n2\n3\n4\nand 102 more"


class Wandering(DictRoutes):
    """Routes whose store comes and goes."""

    gone = False

    @property
    def away(self) -> bool:
        return self.gone


async def test_a_store_that_goes_and_comes_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(watching, "AWAY_FOR", 0.0)
    routes = Wandering()
    async with (
        receiving(b"200 OK") as receiver,
        alerts_to(receiver, routes=routes, on=("store",)),
        alerts_to(receiver, routes=routes, on=("store",)),  # another worker of the machine
    ):
        routes.gone = True
        await receiver.until(lambda it: len(it.requests) == 1)
        routes.gone = False
        await receiver.until(lambda it: len(it.requests) == 2)
    events = [json.loads(each.body)["events"][0] for each in receiver.requests]
    assert [(each["event"], each["state"]) for each in events] == [
        ("store", "away"),
        ("store", "back"),
    ]
