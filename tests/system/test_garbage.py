"""What a request leaves behind: nothing that the cycle collector has to find."""

import gc

import pytest

from app.system.garbage import THRESHOLDS, rare_collections
from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.serving import proxying

pytestmark = pytest.mark.usefixtures("either_way")


async def test_a_served_request_leaves_no_cycle(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy, answering(answer(b"x")) as backend:
        await proxy.route("a.test", backend)
        client = await proxy.connect()

        async def ask(times: int) -> None:
            for _ in range(times):
                client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                await client.response()

        await ask(5)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await ask(20)
            gc.collect()
            found = [type(o).__name__ for o in gc.garbage if type(o).__module__.startswith("app.")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert found == []


def test_collections_are_rare_only_as_long_as_asked() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold() == THRESHOLDS
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
