"""Threads for look-ups: nobody's names take them all."""

from __future__ import annotations

import asyncio
import doctest
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from app.system import name_lookups
from app.system.name_lookups import (
    MAX_PER_DOMAIN,
    MAX_PER_ZONE,
    MAX_SILENT,
    MAX_THREADS,
    MAX_UNPROVEN,
    Lookup,
    NameLookups,
)
from tests.processes import ROOT
from tests.redis_servers import until

LOOPBACK = [(2, ("127.0.0.1", 0))]


class Silence:
    """Names with `bad` in them get no answer until `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: list[str] = []
        self.lookups = NameLookups(self.answer)

    def answer(self, host: str) -> list[tuple[int, tuple[object, ...]]]:
        self.asked.append(host)
        if "bad" in host:
            self.over.wait()
        return LOOPBACK

    def start(self, *hosts: str, proven: bool = False, silent: bool = False) -> list[Lookup]:
        return [self.lookups.start(host, proven=proven, silent=silent) for host in hosts]


@pytest.fixture
async def silence() -> AsyncIterator[Silence]:
    made = Silence()
    yield made
    made.over.set()


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(name_lookups).failed == 0


@pytest.mark.parametrize(
    ("pattern", "limit"),
    [
        pytest.param("x{}.bad.test", MAX_PER_ZONE, id="one zone"),
        pytest.param("x.y{}.bad.test", MAX_PER_DOMAIN, id="zones of one domain"),
        pytest.param("bad{}.test", MAX_UNPROVEN, id="as many domains as one likes"),
        pytest.param("bad{}.test", MAX_SILENT, id="names known to be silent"),
    ],
)
async def test_silent_names_have_a_share_and_no_more(silence, pattern, limit) -> None:
    hosts = [pattern.format(n) for n in range(2 * MAX_THREADS)]
    bad = silence.start(*hosts, silent=limit == MAX_SILENT)
    await until(lambda: len(silence.asked) == limit)
    proven = limit == MAX_UNPROVEN  # then only names that were good once have room
    [good] = silence.start("www.good.test", proven=proven)
    assert await good == LOOPBACK
    assert len(silence.asked) == limit + 1
    silence.over.set()
    assert await asyncio.gather(*bad) == [LOOPBACK] * len(bad)


async def test_proven_names_have_an_end_too(silence) -> None:
    bad = silence.start(*(f"bad{n}.test" for n in range(MAX_THREADS + 9)), proven=True)
    await until(lambda: len(silence.asked) == MAX_THREADS)
    [good] = silence.start("www.good.test", proven=True)
    silence.over.set()
    await asyncio.gather(*bad, good)
    assert silence.asked[-1] == "www.good.test" or len(silence.asked) == MAX_THREADS + 10


async def test_what_waits_can_be_given_up_and_what_runs_cannot(silence) -> None:
    lookups = silence.start(*(f"x{n}.bad.test" for n in range(MAX_PER_ZONE + 1)))
    assert not silence.lookups.give_up(lookups[0])
    assert silence.lookups.give_up(lookups[-1])
    assert lookups[-1].cancelled()
    silence.over.set()
    await asyncio.gather(*lookups[:-1])
    assert len(silence.asked) == MAX_PER_ZONE
    assert silence.lookups._shares == {}


async def test_names_that_were_given_up_leave_nothing_behind(silence) -> None:
    running = silence.start(*(f"bad{n}.test" for n in range(MAX_UNPROVEN)))
    await until(lambda: len(silence.asked) == MAX_UNPROVEN)
    shares = len(silence.lookups._shares)
    for lookup in silence.start(*(f"www.later{n}.test" for n in range(100))):
        assert silence.lookups.give_up(lookup)
    assert len(silence.lookups._shares) == shares
    silence.over.set()
    await asyncio.gather(*running)
    assert silence.lookups._shares == {}


async def test_an_error_is_an_answer() -> None:
    def fail(host: str) -> list[tuple[int, tuple[object, ...]]]:
        raise UnicodeError(host)

    assert isinstance(await NameLookups(fail).start("a.test", proven=False), UnicodeError)


async def test_no_room_for_a_thread_is_our_lack(silence, monkeypatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    found = await asyncio.gather(*silence.start(*(f"{n}.test" for n in range(2000))))
    assert {str(each) for each in found} == {"[Errno 12] Cannot allocate memory"}


def test_a_look_up_without_end_does_not_hold_up_the_exit() -> None:
    code = (
        "import asyncio, threading\n"
        "from app.system.name_lookups import NameLookups\n"
        "async def main():\n"
        "    started = threading.Event()\n"
        "    def stuck(host):\n"
        "        started.set()\n"
        "        threading.Event().wait()\n"
        "    NameLookups(stuck).start('a.test', proven=False)\n"
        "    await asyncio.to_thread(started.wait)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


@pytest.mark.parametrize("odd", [ValueError("odd"), MemoryError(), SystemExit(1)])
async def test_whatever_a_look_up_raises_ends_it(odd: BaseException) -> None:
    def raising(host: str) -> list[tuple[int, tuple[object, ...]]]:
        raise odd

    lookups = NameLookups(raising)
    found = await asyncio.wait_for(lookups.start("a.test"), 10)
    assert isinstance(found, OSError)
    assert type(odd).__name__ in str(found)
    assert lookups._shares == {}
