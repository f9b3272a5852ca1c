"""Connections to all primaries of a cluster: each command goes to the one that has its slot.

A primary that is away fails its own commands and no others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from ..connections import Connections
from ..url import RedisURL
from .parts import ClusterCommand, Part, ShardAway, ShardQuiet, answers_of, parts_of
from .routed_client import RoutedClient
from .slot_map import Address, SlotMap

logger = logging.getLogger(__name__)

REDIRECTS = 6
"""Times that a command follows where it is sent: a failover and the end of a move are two."""
TRY_AGAIN_AFTER = 0.02
"""Seconds until keys that are just being moved are asked for again."""
QUIET_FOR = 1.0
"""Seconds in which a primary that did not answer is not asked again."""
MAP_WITHIN = 2.0
"""Seconds that a server has to say who has which slots, where the caller sets no limit."""


class ClusterConnections:
    """connections.StoreLink to a cluster. It belongs to one event loop."""

    def __init__(
        self, url: RedisURL, *, timeout: float | None, retries: int = 1, bounded: bool = False
    ) -> None:
        """As for Connections. With `bounded` half of `timeout` is for one primary, so that the
        answers of the others come in time when it is silent."""
        self._url = replace(url, scheme=url.scheme.removesuffix("+cluster"))
        self._options: dict[str, Any] = {"timeout": timeout, "retries": retries}
        self._once = retries == 0
        self._limit = timeout / 2 if bounded and timeout else timeout
        self._nodes: dict[Address, Connections] = {}
        self._quiet_until: dict[Address, float] = {}
        self._map: SlotMap | None = None
        self._learning: asyncio.Task[SlotMap] | None = None
        self.doubted = asyncio.Event()
        """Set when the map of the slots may be old."""
        self.client = RoutedClient(self)

    def node(self, address: Address) -> Connections:
        """The connections to one server."""
        if address not in self._nodes:
            url = replace(self._url, addresses=(address,))
            self._nodes[address] = Connections(url, **self._options)
        return self._nodes[address]

    async def slots(self) -> SlotMap:
        """Who has which slots, as it was last heard. Raises RedisError, OSError."""
        return self._map or await self.learn()

    async def learn(self) -> SlotMap:
        """Ask who has which slots now; all who ask meanwhile share the answer.

        Raises RedisError, OSError.
        """
        if self._learning is None:
            self._learning = asyncio.create_task(self._learn(), name="store slots")
            self._learning.add_done_callback(self._learned)
        return await asyncio.shield(self._learning)

    def _learned(self, task: asyncio.Task[SlotMap]) -> None:
        self._learning = None
        if not task.cancelled():
            task.exception()  # those who asked were told

    async def _learn(self) -> SlotMap:
        self.doubted.clear()
        known = self._map.primaries() if self._map else []
        failed: Exception = ConnectionError("no server of the cluster answers")
        for address in dict.fromkeys(sorted([*known, *self._url.addresses], key=self._is_quiet)):
            try:
                async with asyncio.timeout(self._limit or MAP_WITHIN):
                    (answer,) = await self.node(address).ask([("CLUSTER", "SLOTS")])
            except (RedisError, OSError) as exc:
                self._silence(address)
                failed = exc
                continue
            if not isinstance(answer, ResponseError):
                self._map = SlotMap.of_answer(answer, address[0])
                await self._forget(set(self._map.primaries()))
                return self._map
            failed = answer
        if isinstance(failed, TimeoutError):
            failed = ConnectionError("no server of the cluster answers in time")
        raise failed

    async def _forget(self, primaries: set[Address]) -> None:
        """Close the connections to servers that are not asked any more."""
        for address in set(self._nodes) - primaries - set(self._url.addresses):
            self._quiet_until.pop(address, None)
            await self._nodes.pop(address).aclose()

    def _silence(self, address: Address) -> None:
        self._quiet_until[address] = asyncio.get_running_loop().time() + QUIET_FOR
        self.doubted.set()

    def _is_quiet(self, address: Address) -> bool:
        until = self._quiet_until.get(address)
        return until is not None and asyncio.get_running_loop().time() < until

    async def ask(self, commands: Sequence[ClusterCommand]) -> list[Any]:
        """The raw answers to these commands, in one trip to each primary; an error is one of them.

        From MULTI to EXEC all keys must be of one slot. Raises RedisError, OSError where no server
        of the cluster answers.
        """
        found = parts_of(commands)
        left: Iterable[Part] = {id(part): part for parts in found for part in parts}.values()
        for last in (*[False] * (REDIRECTS - 1), True):
            left = await self._ask(left, last=last)
            if not left:
                break
        return answers_of(found, commands)

    async def _ask(self, parts: Iterable[Part], *, last: bool) -> list[Part]:
        """Ask once. Returns what has to be asked again; none after the `last` time."""
        slots = await self.slots()
        by_node: dict[tuple[Address | None, bool], list[Part]] = {}
        for part in parts:
            address = part.asking or self._address(slots, part.slot)
            by_node.setdefault((address, part.asking is not None), []).append(part)
        groups = list(by_node.items())
        if len(groups) == 1:
            [((address, asking), some)] = groups
            await self._ask_node(address, some, asking=asking)
        else:
            asked = (self._ask_node(to, some, asking=asking) for (to, asking), some in groups)
            await asyncio.gather(*asked)
        again = [part for _, some in groups for part in some if self._redirected(part)]
        if not again or last:
            return []
        if any(isinstance(_error(part), TryAgainError) for part in again):
            await asyncio.sleep(TRY_AGAIN_AFTER)
        if any(isinstance(_error(part), ShardAway) for part in again):
            before = self._map
            again = await self._reassigned(again, before)
        return again

    async def _reassigned(self, parts: list[Part], before: SlotMap | None) -> list[Part]:
        """Without those that failed and whose slot still has the same owner."""
        try:
            now = await self.learn()
        except (RedisError, OSError):
            return []
        return [
            part
            for part in parts
            if not isinstance(_error(part), ShardAway)
            or not (before and self._address(before, part.slot) == self._address(now, part.slot))
        ]

    def _address(self, slots: SlotMap, slot: int | None) -> Address | None:
        if slot is not None:
            return slots.owner(slot)
        primaries = slots.primaries()
        return min(primaries, key=self._is_quiet) if primaries else None

    async def _ask_node(self, address: Address | None, parts: list[Part], *, asking: bool) -> None:
        """Give each part its answers."""
        if address is None or self._is_quiet(address):
            reason = "no server has this slot" if address is None else "it did not answer before"
            self._give(parts, ShardQuiet, address, reason)
            return
        commands = [
            command
            for part in parts
            for command in ([("ASKING",), *part.commands] if asking else part.commands)
        ]
        node = self.node(address)
        try:
            async with asyncio.timeout(self._limit):
                answers = iter(await (node.ask_once if self._once else node.ask)(commands))
        except (RedisError, OSError) as exc:
            self._silence(address)
            self._give(parts, ShardAway, address, str(exc) or "no answer in time")
            return
        for part in parts:
            if asking:
                next(answers)
            part.asking = None
            part.answers = [self._judged(next(answers), address) for _ in part.commands]

    def _give(
        self, parts: list[Part], kind: type[ShardAway], address: Address | None, reason: str
    ) -> None:
        where = f"{address[0]}:{address[1]}" if address else "cluster"
        for part in parts:
            part.asking = None
            part.answers = [kind(f"{where}: {reason}") for _ in part.commands]

    def _redirected(self, part: Part) -> bool:
        error = _error(part)
        if isinstance(error, MovedError):  # before AskError, of which it is one
            if self._map is not None:
                self._map.move(error.slot_id, (error.host, error.port))
            self.doubted.set()
        elif isinstance(error, AskError):
            part.asking = (error.host, error.port)
        again = isinstance(error, AskError | TryAgainError | ShardAway)
        return again and not isinstance(error, ShardQuiet)

    def _judged(self, answer: Any, address: Address) -> Any:
        """A primary that does not serve now counts as away."""
        if isinstance(answer, ClusterDownError | BusyLoadingError):
            self.doubted.set()
            return ShardQuiet(f"{address[0]}:{address[1]}: {answer}")
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
        for node in self._nodes.values():
            await node.aclose()
        self._nodes = {}


def _error(part: Part) -> Exception | None:
    return next((answer for answer in part.answers if isinstance(answer, Exception)), None)
