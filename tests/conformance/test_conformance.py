"""The tables against the whole proxy: what backends see, and what clients and visitors get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conformance.answering import HOST, Answering, answering, run_answer
from tests.conformance.answers import AnswerCase, answer_cases
from tests.conformance.backend import Observer, observing
from tests.conformance.case import Case, run
from tests.conformance.compare import README, SECTIONS, row_of
from tests.conformance.forwarding import forwarding_cases
from tests.conformance.framing import framing_cases
from tests.conformance.http2.table import GROUPS as HTTP2_GROUPS
from tests.conformance.hurting import HURTS, Visitor, backends, host_of, run_hurt
from tests.conformance.proxies import Sites, hurt_limits, write_routes
from tests.conformance.requests import request_cases
from tests.processes import serve

CASES = [*request_cases(), *framing_cases(), *forwarding_cases()]
ANSWER_CASES = answer_cases()
Address = tuple[str, int]


GROUPS = [
    *((section, group) for section, (_, groups) in SECTIONS.items() for group in groups),
    *(("http2", group.__name__) for group in HTTP2_GROUPS),
]


def test_every_group_has_its_row_where_the_counts_go() -> None:
    text = README.read_text("utf-8")
    assert [each for each in GROUPS if not row_of(*each).search(text)] == []


@contextmanager
def proxying(folder: Path, sites: Sites, **server: Any) -> Iterator[Address]:
    """`hipache serve` with one worker and these routes."""
    port: Future[int] = Future()
    write_routes(folder / "routes.toml", sites)
    with asyncio.Runner() as runner:
        stop = asyncio.Event()

        async def serving() -> None:
            driver = f"file:{folder}/routes.toml"
            async with serve(folder, driver, workers=1, **server) as service:
                port.set_result(service.port)
                await stop.wait()

        thread = Thread(target=runner.run, args=(serving(),))
        thread.start()
        yield "127.0.0.1", port.result(30)
        runner.get_loop().call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Observer]]:
    """Every host on one observing backend."""
    folder = tmp_path_factory.mktemp("conformance")
    with observing() as observer, proxying(folder, {"*": [observer.port]}) as address:
        yield address, observer


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Answering]]:
    """The backend that answers as the cases say."""
    folder = tmp_path_factory.mktemp("answers")
    with (
        answering(ANSWER_CASES) as backend,
        proxying(folder, {HOST: [backend.port]}) as address,
    ):
        yield address, backend


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A site of two backends for each case."""
    with ExitStack() as stack:
        pairs = {host_of(hurt): stack.enter_context(backends(2)) for hurt in HURTS}
        sites = {host: [backend.port for backend in pair] for host, pair in pairs.items()}
        folder = tmp_path_factory.mktemp("hurt")
        yield stack.enter_context(proxying(folder, sites, **hurt_limits()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_clients_send(case: Case, proxy: tuple[Address, Observer]) -> None:
    address, observer = proxy
    assert run(case, address, observer.take) == "", case.source


@pytest.mark.parametrize("case", ANSWER_CASES, ids=lambda case: case.name)
def test_what_backends_answer(case: AnswerCase, answered: tuple[Address, Answering]) -> None:
    address, backend = answered
    assert run_answer(case, backend, address) == "", case.source


@pytest.mark.parametrize("hurt", HURTS, ids=lambda hurt: hurt.__name__)
def test_what_one_visitor_does_hurts_nobody_else(
    hurt: Callable[[Visitor], None], visited: Address
) -> None:
    assert run_hurt(hurt, visited) == ""
