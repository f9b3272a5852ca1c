"""A real cluster for tests: three primaries and their replicas, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from app.stores.redis.cluster.slot_map import SLOTS, slot_of
from tests.ports import free_port
from tests.redis_servers import RedisServer

NODE_TIMEOUT = 500
"""Milliseconds until a server that does not answer is replaced by its replica."""


class Cluster:
    """Servers; the first three are the primaries at first, each with a third of the slots."""

    def __init__(self, directory: Path) -> None:
        self.servers: list[RedisServer] = []
        for number in range(6):
            folder = directory / str(number)
            folder.mkdir()
            self.servers.append(
                RedisServer(
                    folder,
                    *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
                    *("--cluster-node-timeout", str(NODE_TIMEOUT)),
                    *("--cluster-require-full-coverage", "no"),
                    *("--cluster-replica-validity-factor", "0"),
                )
            )
        self.primaries = self.servers[:3]

    @property
    def url(self) -> str:
        names = ",".join(f"127.0.0.1:{server.port}" for server in self.primaries)
        return f"redis+cluster://{names}"

    async def start(self) -> "Cluster":
        await asyncio.gather(*(server.start() for server in self.servers))
        bounds = [SLOTS * n // 3 for n in range(4)]
        for n, server in enumerate(self.primaries):
            slots = bounds[n], bounds[n + 1] - 1
            await self.command(server, "CLUSTER", "ADDSLOTSRANGE", *slots)
            await self.command(server, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for server in self.servers:
            bus = server.options[server.options.index("--cluster-port") + 1]
            for other in self.servers:
                if other is not server:
                    await self.command(other, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for n, replica in enumerate(self.servers[3:]):
            primary = await self.command(self.servers[n], "CLUSTER", "MYID")
            await self.until_done(replica, "CLUSTER", "REPLICATE", primary)
        await self.settled()
        return self

    async def settled(self) -> None:
        """Wait until every server knows all slots, and every primary its replica."""
        async with asyncio.timeout(30):
            for server in self.servers:
                while True:
                    slots = await self.command(server, "CLUSTER", "SLOTS")
                    if len(slots) == 3 and all(len(each) == 4 for each in slots):
                        break
                    await asyncio.sleep(0.02)
            for server in self.servers:
                for command, sign in (
                    (("CLUSTER", "INFO"), "cluster_state:fail"),
                    (("INFO", "replication"), "master_link_status:down"),
                ):
                    while sign in str(await self.command(server, *command)):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)

    async def be_patient(self, milliseconds: int = 60_000) -> None:
        """From now on a busy machine brings about no failover."""
        for server in self.servers:
            await self.command(server, "CONFIG", "SET", "cluster-node-timeout", milliseconds)

    async def empty(self) -> None:
        """Remove all keys."""
        for server in self.servers:
            if "role:master" in str(await self.command(server, "INFO", "replication")):
                await self.command(server, "FLUSHALL")

    async def until_done(self, server: RedisServer, *words: Any) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.command(server, *words)
                    return
                except RedisError:
                    await asyncio.sleep(0.02)

    async def command(self, server: RedisServer, *words: Any) -> Any:
        async with server.client as client:
            connection = await client.connection_pool.get_connection()
            try:
                await connection.send_command(*words)
                return await connection.read_response()
            finally:
                await client.connection_pool.release(connection)

    async def owner(self, key: str) -> RedisServer:
        """The primary of a key."""
        slot = slot_of(key)
        for server in self.servers:
            if server.process is not None:
                for first, last, (_, port, *_rest), *_replicas in await self.command(
                    server, "CLUSTER", "SLOTS"
                ):
                    if first <= slot <= last:
                        return next(each for each in self.servers if each.port == port)
        raise AssertionError(key)

    async def at(self, key: str, name: str, *words: Any) -> Any:
        """The answer of the primary of a key: `name` `key` `words`."""
        return await self.command(await self.owner(key), name, key, *words)

    def host_on(self, server: int) -> str:
        """A host whose tagged keys are on one of the first primaries."""
        for n in range(1000):
            host = f"host{n}.test"
            if slot_of(f"{{{host}}}") * 3 // SLOTS == server:
                return host
        raise AssertionError

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


@asynccontextmanager
async def cluster_in(directory: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(directory)
    try:
        yield await cluster.start()
    finally:
        cluster.kill()
