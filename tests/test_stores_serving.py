"""The same through a whole proxy: two workers, a backend, and a Redis that is killed under load."""

import asyncio
from pathlib import Path

from tests.processes import Service, serve
from tests.redis_servers import RedisServer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        writer.write(ANSWER)
    writer.close()


async def statuses(service: Service, count: int) -> set[bytes]:
    """What so many new connections are answered, some at a time."""
    found = set()
    for _ in range(count // 10):
        replies = await asyncio.gather(*(service.ask("a.example") for _ in range(10)))
        found |= {reply[9:12] for reply in replies}
    return found


async def test_redis_is_killed_under_load_and_comes_back_empty(tmp_path: Path) -> None:
    backend = await asyncio.start_server(answer, "127.0.0.1", 0)
    redis = await RedisServer(tmp_path).start()
    url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}"
    async with serve(tmp_path, redis.url) as service:
        async with redis.client as client:
            await client.rpush("frontend:a.example", "id", url)
            while await statuses(service, 40) != {b"200"}:
                pass
        load = asyncio.create_task(statuses(service, 300))
        redis.kill()
        assert await load == {b"200"}
        assert (await service.ask("b.example"))[9:12] == b"503"
        async with asyncio.timeout(3):
            await redis.start()
            while await statuses(service, 40) != {b"400"}:
                pass
    redis.kill()
    backend.close()
