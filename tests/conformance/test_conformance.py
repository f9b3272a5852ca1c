"""The table of what clients send, against the whole proxy: what does its backend see?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

import pytest

from tests.conformance.backend import Observer, observing
from tests.conformance.case import Case, run
from tests.conformance.forwarding import forwarding_cases
from tests.conformance.framing import framing_cases
from tests.conformance.requests import request_cases
from tests.processes import serve

CASES = [*request_cases(), *framing_cases(), *forwarding_cases()]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[str, int], Observer]]:
    """`hipache serve` with one worker, every host on one observing backend."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    port: Future[int] = Future()
    with observing() as observer, asyncio.Runner() as runner:
        table = f'["*"]\nid = "all"\nbackends = ["http://127.0.0.1:{observer.port}"]\n'
        (folder / "routes.toml").write_text(table)
        stop = asyncio.Event()

        async def serving() -> None:
            async with serve(folder, f"file:{folder}/routes.toml", workers=1) as service:
                port.set_result(service.port)
                await stop.wait()

        thread = Thread(target=runner.run, args=(serving(),))
        thread.start()
        yield ("127.0.0.1", port.result(30)), observer
        runner.get_loop().call_soon_threadsafe(stop.set)
        thread.join()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_clients_send(case: Case, proxy: tuple[tuple[str, int], Observer]) -> None:
    address, observer = proxy
    assert run(case, address, observer.take) == "", case.source
