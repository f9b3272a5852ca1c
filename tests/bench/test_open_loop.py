"""The load that does not wait, against a server that pauses."""

import asyncio
from pathlib import Path

import pytest

from bench.questions.open_loop import END, Load
from tests.backends import Conversation, answer, scripted


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return Load.compiled(tmp_path)


async def test_a_pause_of_the_server_delays_all_that_was_due_in_it(load: Load) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await asyncio.sleep(0.1)
        while True:
            await conversation.send(answer(END))
            await conversation.head()

    async with scripted(script) as server:
        seen = await asyncio.to_thread(load.run, server.port, 500, 0.2, connections=1)
    assert (len(seen.times), seen.errors) == (100, 0)
    # One connection: what came due in the 100 ms waited, too. A closed loop would see one.
    assert sum(taken > 20 for taken in seen.times) >= 30


async def test_what_is_not_answered_or_refused_is_an_error(load: Load) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(answer(END, status=b"503 Busy"))
        await conversation.head()

    async with scripted(script) as server:
        seen = await asyncio.to_thread(load.run, server.port, 100, 0.05, connections=1)
    assert (len(seen.times), seen.errors) == (1, 5)
