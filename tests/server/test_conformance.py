"""The table of what clients send, against our protocol alone: no proxy behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any

import pytest
import uvloop

from app.server.edge import ClientLimits
from tests.conformance.case import Case, Seen, run
from tests.conformance.framing import framing_cases
from tests.conformance.requests import request_cases
from tests.server.serving import answer, serving

CASES = [*request_cases(), *framing_cases()]


class Observer:
    """An application that answers after it has read all, and tells what arrived."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # a body that never was complete is no request
            body += message["body"]
            more = message["more_body"]
        target = scope["extensions"]["hipache.target"]
        self._seen.append(Seen(scope["method"].encode(), target, body, scope["headers"]))
        await answer(send, b"ok")

    def take(self) -> list[Seen]:
        seen, self._seen = self._seen, []
        return seen


@pytest.fixture(scope="module")
def edge() -> Iterator[tuple[tuple[str, int], Observer]]:
    """A server in a thread of its own: the cases block."""
    observer, loop, stop = Observer(), uvloop.new_event_loop(), asyncio.Event()
    port: Future[int] = Future()

    async def serve() -> None:
        async with serving(observer, ClientLimits(drain_grace=0.001)) as served:
            port.set_result(served.port)
            await stop.wait()

    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield ("127.0.0.1", port.result()), observer
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_clients_send(case: Case, edge: tuple[tuple[str, int], Observer]) -> None:
    address, observer = edge
    assert run(case, address, observer.take) == "", case.source


def test_the_table_is_long_enough_and_names_its_sources() -> None:
    assert len(CASES) >= 250
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source for case in CASES)
