"""Names are looked up once for all, and remembered while the resolver is silent."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator

import pytest

from app.system import resolver as module
from app.system.resolver import FALLBACK_AFTER, FRESH, MAX_REST, Resolver, loop_resolver

HOST = "a.test"
SILENT = socket.gaierror(socket.EAI_AGAIN, "not now")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "no such name")


class Names:
    """A resolver whose answers and whose clock a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.answer: list[str] | Exception = ["127.0.0.1"]
        self.asked = 0
        self.open = threading.Event()
        self.open.set()
        self.resolver = Resolver(self._look_up, lambda: self.now)

    def _look_up(self, host: str) -> list[tuple[int, tuple[object, ...]]]:
        self.asked += 1
        self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return [(socket.AF_INET, (address, 0)) for address in self.answer]

    async def find(self, host: str = HOST, limit: float = 30.0) -> list[str]:
        found = await self.resolver.find(host, 80, limit=limit)
        return [str(where[0]) for _, where in found]

    async def answered(self) -> None:
        """Until the look-up that runs has ended."""
        name = self.resolver._names[HOST]
        while name.lookup is not None:
            await asyncio.wait({name.lookup})
            await asyncio.sleep(0)


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    made = Names()
    yield made
    made.open.set()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0x7f000001", "9101"])
async def test_an_address_is_not_looked_up(names, address) -> None:
    family, where = (await names.resolver.find(address, 80))[0]
    assert where[:2] == (
        "0.0.35.141" if address == "9101" else "::1" if ":" in address else "127.0.0.1", 80,
    )  # fmt: skip
    assert family == (socket.AF_INET6 if ":" in address else socket.AF_INET)
    assert names.asked == 0


async def test_all_who_ask_share_one_look_up(names) -> None:
    names.open.clear()
    asking = [asyncio.create_task(names.find()) for _ in range(50)]
    await asyncio.sleep(0)
    names.open.set()
    assert await asyncio.gather(*asking) == [["127.0.0.1"]] * 50
    assert names.asked == 1


async def test_an_answer_is_good_for_a_second_for_every_port(names) -> None:
    await names.find()
    names.answer = ["127.0.0.2"]
    assert await names.resolver.find(HOST, 81) == [(socket.AF_INET, ("127.0.0.1", 81))]
    names.now += FRESH
    assert await names.find() == ["127.0.0.2"]


async def test_a_name_that_does_not_exist_is_forgotten_at_once(names) -> None:
    await names.find()
    names.now += FRESH
    names.answer = UNKNOWN
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="no such name"):
            await names.find()
    assert names.asked == 2
    names.now += FRESH
    names.answer = ["127.0.0.2"]
    assert await names.find() == ["127.0.0.2"]


async def test_a_look_up_that_was_given_up_is_not_waited_for_again(names) -> None:
    names.open.clear()
    with pytest.raises(TimeoutError):
        await names.find(limit=0.01)
    names.now += 0.01
    async with asyncio.timeout(0.5):
        with pytest.raises(TimeoutError):
            await names.find(limit=0.01)
    assert names.asked == 1
    names.open.set()
    assert await names.find() == ["127.0.0.1"]  # who has more time waits for the same one


async def test_a_silent_name_is_left_alone_for_a_while(names) -> None:
    names.open.clear()
    names.answer = SILENT
    asking = asyncio.create_task(names.find())
    await asyncio.sleep(0)
    names.now += 2
    names.open.set()
    with pytest.raises(socket.gaierror, match="not now"):
        await asking
    names.now += 5.9
    with pytest.raises(socket.gaierror, match="not now"):
        await names.find()
    assert names.asked == 1
    names.now += MAX_REST
    names.answer = ["127.0.0.1"]
    asking = asyncio.create_task(names.find())
    await asyncio.sleep(0)
    assert names.resolver._names[HOST].lookup.silent
    assert await asking == ["127.0.0.1"]
    assert not names.resolver._names[HOST].silent


async def test_who_leaves_takes_a_look_up_along_that_has_not_begun(names) -> None:
    names.open.clear()
    asking = [asyncio.create_task(names.find(f"x{n}.a.test")) for n in range(6)]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    names.open.set()
    assert await names.find("y.a.test") == ["127.0.0.1"]
    assert names.asked == 4 + 1
    assert await names.find("x5.a.test") == ["127.0.0.1"]


async def test_a_name_that_never_had_a_thread_is_left_alone_too(names) -> None:
    names.open.clear()
    asking = [asyncio.create_task(names.find(f"x{n}.a.test")) for n in range(4)]
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await names.find("y.a.test", limit=0.01)
    assert names.resolver._names["y.a.test"].lookup is None
    names.open.set()
    await asyncio.gather(*asking)
    names.now += FRESH
    assert await names.find("y.a.test") == ["127.0.0.1"]


async def test_last_known_addresses_are_used_while_the_resolver_is_silent(names, caplog) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    await names.find()
    names.now += 3600
    names.answer = SILENT
    for _ in range(5):
        assert await names.find() == ["127.0.0.1"]
        names.now += MAX_REST
        await names.answered()
    assert names.asked > 2
    assert caplog.messages == [
        "resolver silent, last known addresses are used host=a.test cause=[Errno -3] not now"
    ]
    names.answer = ["127.0.0.2"]
    await names.find()
    await names.answered()
    assert await names.find() == ["127.0.0.2"]
    assert caplog.messages[1:] == ["resolver answers again host=a.test"]


async def test_last_known_addresses_do_not_wait_for_an_answer(names) -> None:
    await names.find()
    names.open.clear()
    names.now += 3600
    first = asyncio.create_task(names.find())
    await asyncio.sleep(0)
    names.now += FALLBACK_AFTER
    async with asyncio.timeout(FALLBACK_AFTER / 2):
        assert await names.find() == ["127.0.0.1"]
    assert await first == ["127.0.0.1"]
    assert names.asked == 2


async def test_a_name_in_use_is_looked_up_twice_in_an_interval(names) -> None:
    await names.find()
    names.now += 14
    assert names.resolver.moved_from(HOST, 30) == set()
    assert names.asked == 1
    names.answer = ["127.0.0.2"]
    names.now += 1
    names.resolver.moved_from(HOST, 30)
    await names.answered()
    assert names.asked == 2
    assert names.resolver.moved_from(HOST, 30) == {"127.0.0.1"}
    names.now += 0.5
    assert await names.find() == ["127.0.0.2"]


async def test_one_answer_of_many_without_an_address_is_no_move(names) -> None:
    names.answer = ["127.0.0.1", "127.0.0.2"]
    await names.find()
    for answer in (["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2"]):
        names.answer = answer
        names.now += 5
        await names.find()
        assert names.resolver.moved_from(HOST, 30) == set()


async def test_silence_is_no_move(names) -> None:
    await names.find()
    names.answer = SILENT
    for _ in range(10):
        names.now += 15
        assert names.resolver.moved_from(HOST, 30) == set()
        await names.answered()
    assert names.asked > 5


async def test_what_nobody_looked_up_has_not_moved(names) -> None:
    assert names.resolver.moved_from("127.0.0.1", 30) == set()
    assert names.asked == 0


async def test_the_memory_has_an_end(names, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    for host in ("1.a.test", "2.a.test", "3.a.test", "4.a.test"):
        await names.find(host)
    assert [*names.resolver._names] == ["2.a.test", "3.a.test", "4.a.test"]


async def test_a_loop_has_one_resolver() -> None:
    assert loop_resolver() is loop_resolver()
    assert await asyncio.to_thread(lambda: asyncio.run(_own())) is not loop_resolver()


async def _own() -> Resolver:
    return loop_resolver()
