"""Moves a frontend to another key, with all that belongs to it."""

from __future__ import annotations

from ..frontends.site import prefix_of
from ..stores.key_pattern import KeyPattern
from ..stores.table import Table, TableError
from ..stores.table_pieces import all_keys
from ..stores.tables import RouteTable


async def rename_site(table: RouteTable, old: str, new: str) -> None:
    """The list and the options of `old`, and of its prefixes if it is a host, in one step.

    Raises TableError where there is nothing to move, or something in its place.
    """
    there = (await table.read([old])).get(old)
    names = [old]
    if there is not None and there.below:
        below = set[str]()
        async for some in all_keys(table, KeyPattern.beginning(f"{old}/")):
            below.update(some)
        names += below
        if prefix_of(new):
            raise TableError(f"{old} has prefixes, so it cannot become a prefix itself")
    moves = {key: new + key[len(old) :] for key in names}

    def edit(before: Table) -> Table:
        found = before.get(old)
        if found is None:
            raise TableError(f"no frontend {old}")
        if found.below and found.below != len(names) - 1:
            raise TableError(f"the prefixes of {old} have no lists, or changed meanwhile")
        taken = [key for key in moves.values() if key in before and key not in moves]
        if taken or (new in before and before[new].below):
            raise TableError(f"{taken[0] if taken else new} exists already")
        return {moves[key]: entry for key, entry in before.items() if key in moves}

    await table.change([*moves, *moves.values()], edit)
