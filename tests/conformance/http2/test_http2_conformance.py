"""The table of HTTP/2, against the whole proxy: what comes of frames, what does its backend see?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

import pytest

from tests.conformance.backend import Observer, observing
from tests.conformance.http2.answers import ANSWERS
from tests.conformance.http2.case import Case, Place, run
from tests.conformance.http2.table import CASES
from tests.processes import command
from tests.tls.serving import write_tls_config

Served = tuple[Place, Observer]
DEVIATIONS = {
    "PRIORITY on stream 0": "ignored",
    "a stream below the last one": "ignored",
    "CONTINUATION larger than SETTINGS_MAX_FRAME_SIZE": "GOAWAY COMPRESSION_ERROR",
}
"""Where the engine does not do what the RFC demands. It does not tell of these frames."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`hipache serve` with one worker, every host on one observing backend."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    place: Future[Place] = Future()
    with observing(ANSWERS) as observer, asyncio.Runner() as runner:
        stop = asyncio.Event()
        thread = Thread(target=runner.run, args=(serving(folder, observer, place, stop),))
        thread.start()
        yield place.result(30), observer
        runner.get_loop().call_soon_threadsafe(stop.set)
        thread.join()


async def serving(
    folder: Path, observer: Observer, place: Future[Place], stop: asyncio.Event
) -> None:
    table = f'["*"]\nid = "all"\nbackends = ["http://127.0.0.1:{observer.port}"]\n'
    (folder / "routes.toml").write_text(table)
    write_tls_config(folder, f"file:{folder}/routes.toml", {"deadBackendTTL": 0})
    config = json.loads((folder / "config.json").read_text())
    config["http"]["http2"] = True
    (folder / "config.json").write_text(json.dumps(config))
    async with command("app.cli", "serve", cwd=folder) as service:
        ports = [
            int((await service.saw(rf"address=127.0.0.1:(\d+) scheme={scheme}$"))[1])
            for scheme in ("http", "https")
        ]
        await service.saw("worker ready")
        place.set_result(Place(*ports))
        await stop.wait()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_clients_send(case: Case, proxy: Served) -> None:
    place, observer = proxy
    got = run(case, place, observer.take)
    if case.name in DEVIATIONS:
        assert got.verdict == DEVIATIONS[case.name]
        return
    assert got.fault == "", case.source
    assert got.verdict == case.verdicts[0], "allowed, and not what we do"


def test_the_table_is_long_enough_and_names_its_sources() -> None:
    assert len(CASES) >= 140
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source for case in CASES)
