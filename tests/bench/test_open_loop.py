"""The load that does not wait, against a server that pauses."""

import asyncio

from bench.questions.open_loop import END, load, row
from tests.backends import Conversation, answer, scripted


async def test_a_pause_of_the_server_delays_all_that_was_due_in_it() -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await asyncio.sleep(0.1)
        while True:
            await conversation.send(answer(END))
            await conversation.head()

    async with scripted(script) as server:
        seen = await load(server.port, 500, 0.2, connections=1)
    assert (seen.asked, len(seen.latencies), seen.errors) == (100, 100, 0)
    # One connection: what came due in the 100 ms waited, too. A closed loop would see one.
    assert sum(latency > 0.02 for latency in seen.latencies) >= 30
    assert row("x", 500, seen)[1] == "500"
