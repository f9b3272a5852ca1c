"""The load that does not wait, against a server that pauses."""

import asyncio

from bench.questions.open_loop import END, load, row


async def test_a_pause_of_the_server_delays_all_that_was_due_in_it() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(END), END)
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                if asked == 1:
                    await asyncio.sleep(0.1)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        seen = await load(server.sockets[0].getsockname()[1], 500, 0.2, connections=1)
    assert (seen.asked, len(seen.latencies), seen.errors) == (100, 100, 0)
    # One connection: what came due in the 100 ms waited, too. A closed loop would see one.
    assert sum(latency > 0.02 for latency in seen.latencies) >= 30
    assert row("x", 500, seen)[1] == "500"
