"""redis-py's client on a cluster: its commands, sent where their keys are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline

from .parts import ClusterCommand
from .slot_map import Address, SlotMap, key_of, slot_of

CURSORS = 2**64
"""Cursors of SCAN are smaller. What is above them says which primary is being scanned."""


class ScannedNode(Protocol):
    """One primary."""

    async def ask(self, commands: Sequence[ClusterCommand]) -> list[Any]:
        """The raw answers."""


class Routing(Protocol):
    """What sends commands to the right primaries."""

    async def ask(self, commands: Sequence[ClusterCommand]) -> list[Any]:
        """The raw answers; an error is one of them."""

    async def slots(self) -> SlotMap:
        """Who has which slots."""

    def node(self, address: Address) -> ScannedNode:
        """One primary."""


class RoutedClient(Redis):
    """Commands one by one, and pipelines."""

    def __init__(self, routing: Routing) -> None:
        pool = ConnectionPool(protocol=2)  # for its settings: it never connects
        super().__init__(connection_pool=pool)
        self._routing = routing

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send it where its key is. Raises RedisError, OSError."""
        if args[0] == "SCAN":
            return await self._scan(int(args[1]), args[2:])
        (answer,) = await self._routing.ask([(*str(args[0]).split(), *args[1:])])
        if isinstance(answer, Exception):
            raise answer
        return _parsed(self, args[0], answer, options)

    async def _scan(self, cursor: int, rest: Iterable[Any]) -> tuple[int, list[Any]]:
        """All primaries, one after the other."""
        number, there = divmod(cursor, CURSORS)
        primaries = (await self._routing.slots()).primaries()
        if number >= len(primaries):
            return 0, []
        (answer,) = await self._routing.node(primaries[number]).ask([("SCAN", there, *rest)])
        if isinstance(answer, Exception):
            raise answer
        following, keys = int(answer[0]), list(answer[1])
        if following:
            return number * CURSORS + following, keys
        return (number + 1) * CURSORS if number + 1 < len(primaries) else 0, keys

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> RoutedPipeline:
        """Commands that are sent together, and take effect together in each slot."""
        return RoutedPipeline(self, self._routing, transaction=transaction)


class RoutedPipeline(Pipeline):
    """Without WATCH. A transaction takes effect slot by slot, in the order of its commands."""

    def __init__(self, client: RoutedClient, routing: Routing, *, transaction: bool) -> None:
        callbacks = client.response_callbacks
        super().__init__(client.connection_pool, callbacks, transaction, None)
        self._routing = routing

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The answers to all commands. Raises RedisError, OSError."""
        stack, self.command_stack = self.command_stack, []
        commands = [args for args, _ in stack]
        if self.is_transaction:
            answers = await self._by_slot(commands)
        else:
            answers = await self._routing.ask(commands)
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return [
            _parsed(self, args[0], answer, options)
            for (args, options), answer in zip(stack, answers, strict=True)
        ]

    async def _by_slot(self, commands: Sequence[ClusterCommand]) -> list[Any]:
        groups: list[tuple[int | None, list[ClusterCommand]]] = []
        for command in commands:
            key = key_of(command)
            slot = None if key is None else slot_of(key)
            if not groups or groups[-1][0] != slot:
                groups.append((slot, []))
            groups[-1][1].append(command)
        answers: list[Any] = []
        for _, some in groups:
            answers += await together(self._routing, some)
        return answers


async def together(routing: Routing, commands: Sequence[ClusterCommand]) -> list[Any]:
    """The answers to commands on one slot that take effect at once. Raises RedisError, OSError.

    Raises what the first of those before EXEC was refused with, for then none took effect.
    """
    if len(commands) == 1:
        return await routing.ask(commands)
    *queued, answers = await routing.ask([("MULTI",), *commands, ("EXEC",)])
    for answer in queued:
        if isinstance(answer, Exception):
            raise answer
    if isinstance(answers, Exception):
        raise answers
    return list(answers)


def _parsed(client: Redis, name: Any, answer: Any, options: Mapping[str, Any]) -> Any:
    callback = client.response_callbacks.get(name)
    if callback is None or isinstance(answer, Exception):
        return answer
    return callback(answer, **{k: v for k, v in options.items() if k != "keys"})
