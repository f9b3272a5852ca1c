"""Which frontends and backends are shown by name: the busiest, with counters that never go back.

A frontend that is shown keeps its place until another has twice its requests. Requests from
before a frontend was shown count with the others, and so do all requests of a frontend that is
no longer shown: the sum over all labels is always the number of requests. For backends it is
the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import add, sub

import msgspec

from ..system.turns import in_turns
from .families import BACKEND, BYTES_IN, FRONTEND, HEAD, OTHER, UNANSWERED
from .folder import Folder, Sum

LIMIT = 500
"""Frontends; and as many backends."""


class ShownNames(msgspec.Struct):
    """What is shown by name."""

    bases: dict[str, bytes] = {}
    """Key -> the cells it had when it was first shown; empty for none."""


async def per_backend(total: Sum) -> dict[str, array[float]]:
    """The cells of every backend; its key is its frontend's and its URL, with NUL between."""
    found: dict[str, array[float]] = {}
    async for name in in_turns(total.blocks.of_kind(BACKEND)):
        key = name.partition("\0")[2]
        found[OTHER if key == f"{OTHER}\0" else key] = total.blocks[name]
    return found


async def per_frontend(total: Sum) -> dict[str, array[float]]:
    """The cells of every frontend, and behind them the sum of its backends' cells."""
    found: dict[str, array[float]] = {}
    heads: dict[str, array[float]] = {}
    async for name in in_turns(total.blocks.of_kind(FRONTEND)):
        found[name.partition("\0")[2]] = total.blocks[name]
    async for name in in_turns(total.blocks.of_kind(BACKEND)):
        cells, key = total.blocks[name], name.split("\0", 2)[1]
        before = heads.get(key)
        heads[key] = cells if before is None else array("d", map(add, before, cells))
    nothing = array("d", bytes(8 * len(next(iter(heads.values()), ()))))
    return {key: cells + heads.get(key, nothing) async for key, cells in in_turns(found.items())}


def requests(cells: array[float]) -> float:
    return sum(cells[:BYTES_IN])


def attempts(cells: array[float]) -> float:
    """All that were made at a backend, by its cells."""
    return cells[UNANSWERED] + sum(cells[HEAD + 1 :])


def choose(
    every: Mapping[str, array[float]],
    done: Mapping[str, float],
    chosen: ShownNames,
    limit: int = LIMIT,
) -> None:
    """Change `chosen` where one comes or goes. `done` says how much each has done, by key."""
    bases = chosen.bases
    waiting = [key for key in every if key != OTHER and key not in bases]
    waiting.sort(key=done.__getitem__, reverse=True)
    for key in waiting[: max(0, limit - len(bases))]:
        bases[key] = b""
    waiting = [key for key in waiting if key not in bases]
    if waiting:
        quietest = sorted((key for key in bases if key in every), key=done.__getitem__)
        for key, quiet in zip(waiting, quietest, strict=False):
            if done[key] <= 2 * done[quiet]:
                break
            del bases[quiet]
            bases[key] = every[key].tobytes()


async def arranged(
    every: Mapping[str, array[float]], bases: Mapping[str, bytes]
) -> dict[str, array[float]]:
    """The cells to show, by key."""
    shown: dict[str, array[float]] = {}
    rest = every.get(OTHER, array("d"))

    def to_rest(cells: array[float]) -> None:
        nonlocal rest
        wide, narrow = (rest, cells) if len(rest) >= len(cells) else (cells, rest)
        rest = array("d", map(add, wide, narrow)) + wide[len(narrow) :]

    async for key, cells in in_turns(every.items()):
        if key not in bases:
            if key != OTHER:
                to_rest(cells)
        elif base := array("d", bases[key]):
            # A base is shorter where no backend had answered yet.
            shown[key] = array("d", map(sub, cells, base)) + cells[len(base) :]
            to_rest(base)
        else:
            shown[key] = cells
    return shown | {OTHER: rest}


async def shown(total: Sum, folder: Folder | None, limit: int = LIMIT) -> dict[str, array[float]]:
    """The cells of the frontends to show, with the choice that all workers share."""
    return await _shared(await per_frontend(total), folder, "places", limit, requests)


async def shown_backends(
    total: Sum, folder: Folder | None, limit: int = LIMIT
) -> dict[str, array[float]]:
    """The same for backends; their keys are those of `per_backend`."""
    return await _shared(await per_backend(total), folder, "backend-places", limit, attempts)


async def _shared(
    every: Mapping[str, array[float]],
    folder: Folder | None,
    file: str,
    limit: int,
    busy: Callable[[array[float]], float],
) -> dict[str, array[float]]:
    done = {key: busy(cells) async for key, cells in in_turns(every.items())}
    chosen = ShownNames()
    if folder is None:
        choose(every, done, chosen, limit)
        return await arranged(every, chosen.bases)
    with folder.locked() as mine:
        with suppress(FileNotFoundError):
            chosen = msgspec.msgpack.decode((folder.path / file).read_bytes(), type=ShownNames)
        before = set(chosen.bases)
        choose(every, done, chosen, limit)
        if mine and before != set(chosen.bases):
            folder.write(file, chosen)
    return await arranged(every, chosen.bases)
