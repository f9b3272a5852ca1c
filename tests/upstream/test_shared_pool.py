"""`server.maxSocketsShared`: the pools of several workers, here all in one event loop."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import UpstreamBusy
from app.system.worker_team import joined_team
from app.upstream.client import UpstreamClient
from tests.backends import Conversation, answer, answering, scripted
from tests.upstream.asking import asked, opened
from tests.upstream.http2.backend import Asked, speaking_http2


@asynccontextmanager
async def workers(
    folder: Path, count: int, **server: object
) -> AsyncIterator[list[UpstreamClient]]:
    config = Config(server=ServerConfig(max_sockets_shared=True, **server))  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            team = stack.enter_context(joined_team(folder, wanted=True))
            client = UpstreamClient(config, team=team)
            clients.append(await stack.enter_async_context(client))
        yield clients


async def test_a_place_goes_to_whoever_needs_it(tmp_path: Path) -> None:
    async with (
        answering(answer(b"hi")) as backend,
        workers(tmp_path, 3, max_sockets=1) as clients,
    ):
        for client in clients * 3:
            assert (await asked(client, backend.url)).body == b"hi"
        assert backend.accepted == 9


async def test_who_waits_longest_comes_first(tmp_path: Path) -> None:
    """Even where the holder's own queue never ends."""
    order, gates = list[bytes](), asyncio.Queue[None]()

    async def script(conversation: Conversation) -> None:
        while True:
            order.append((await conversation.receive()).get(b"x-who") or b"")
            await gates.get()
            await conversation.send(answer())

    async with (
        scripted(script) as backend,
        workers(tmp_path, 2, max_sockets=1) as (one, two),
    ):
        asking = [asyncio.create_task(asked(one, backend.url, b"X-Who: one"))]
        await backend.until(lambda seen: len(seen.requests) == 1)
        asking.append(asyncio.create_task(asked(two, backend.url, b"X-Who: two")))
        await asyncio.sleep(0.15)  # more than the patience of a holder
        for _ in range(3):
            asking.append(asyncio.create_task(asked(one, backend.url, b"X-Who: one")))
        await asyncio.sleep(0)
        for _ in asking:
            gates.put_nowait(None)
        assert {each.status for each in await asyncio.gather(*asking)} == {200}
        assert order == [b"one", b"two", b"one", b"one", b"one"]


async def test_a_request_over_http2_needs_a_place(tmp_path: Path) -> None:
    held = list[Asked]()
    async with (
        speaking_http2() as backend,
        workers(tmp_path, 2, max_sockets=2) as (one, two),
    ):
        backend.on_end = held.append
        waiting = [asyncio.create_task(asked(who, backend.url)) for who in (one, two, one, two)]
        for _ in range(4):
            await backend.until(lambda: held)
            assert len(held) <= 2
            held.pop(0).head(end=True)
        assert {each.status for each in await asyncio.gather(*waiting)} == {200}


async def test_the_time_in_the_queue_is_bounded(tmp_path: Path) -> None:
    async with (
        answering(answer(b"hi")[:-1]) as backend,
        workers(tmp_path, 2, max_sockets=1, queue_timeout=0.1) as (one, two),
    ):
        holding = await opened(one, backend.url)
        with pytest.raises(UpstreamBusy):
            await asked(two, backend.url)
        await holding.aclose()
        again = await opened(two, backend.url)
        await again.aclose()


async def test_without_its_folder_each_worker_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        answering(answer(b"hi")) as backend,
        workers(tmp_path, 1, max_sockets=1) as [one],
    ):
        shutil.rmtree(tmp_path)
        assert (await asked(one, backend.url)).body == b"hi"
    assert "this worker counts its connections for itself" in caplog.text
