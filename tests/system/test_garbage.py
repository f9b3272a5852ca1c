"""What a request leaves behind: nothing that the cycle collector has to find."""

import gc
from types import FrameType

import pytest

from app.system.garbage import THRESHOLDS, rare_collections
from tests.backends import answer, answering, silent
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


POST = b"POST / HTTP/1.1\r\nHost: %b.test\r\nContent-Length: 5\r\n\r\n1234"
FAILURES = {
    "no room for its body": (b"busy", 503),
    "nobody answers": (b"dead", 502),
    "there is no such site": (b"none", 400),
}


async def test_a_failed_request_leaves_no_cycle(valkey: RedisServer) -> None:
    """Its frames hold its body: thousands of failures would fill the memory with them."""
    async with proxying(valkey, maxSockets=1, retryMemory=8) as proxy, silent() as backend:
        await proxy.route("busy.test", backend)
        await proxy.route("dead.test", "http://127.0.0.1:1")
        first = await proxy.connect()
        first.send(POST % b"busy")
        await backend.until(lambda b: len(b.requests) == 1)

        async def ask(host: bytes, status: int) -> None:
            client = await proxy.connect()
            client.send(POST % host)
            assert (await client.response())[0] == status
            await client.close()

        for case in FAILURES.values():
            await ask(*case)
        left = {}
        for name, case in FAILURES.items():
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for _ in range(5):
                    await ask(*case)
                gc.collect()
                frames = [o.f_code for o in gc.garbage if isinstance(o, FrameType)]
                left[name] = {code.co_qualname for code in frames if "/app/" in code.co_filename}
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
    assert left == {name: set() for name in FAILURES}


def test_collections_are_rare_only_as_long_as_asked() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold() == THRESHOLDS
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
