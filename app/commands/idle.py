"""When frontends were last used, for `hipache route`."""

from __future__ import annotations

import json
import time

import click

from ..balancing.explain_text import ago
from ..errors import StoreUnavailable
from ..masking import printable
from ..stores.key_pattern import KeyPattern
from ..stores.sorted_keys import SortedKeys
from ..stores.table import LAST_USED, TableError, by_domain
from ..stores.table_pieces import all_keys, read_pieces
from ..stores.tables import RouteTable
from ..stores.uses import LastUses


async def list_idle(table: RouteTable, *, matching: KeyPattern, idle: float, as_json: bool) -> None:
    """Print the frontends that nobody has used for `idle` seconds.

    Raises TableError where that is not known: what may be in use must not be stopped.
    """
    uses, now = await table.last_uses(), time.time()
    if why := uses.why_unknown(idle, now):
        raise TableError(f"{why}: nothing can be said of the last {ago(idle)}")
    found = list[tuple[str, float | None]]()
    with SortedKeys(by_domain) as keys:
        async for some in all_keys(table, matching):
            keys.add(key for key in some if now - uses.by_key.get(key, 0.0) >= idle)
        async for piece in read_pieces(table, keys):
            found += [(key, uses.by_key.get(key)) for key in piece if piece[key].listed]
    if as_json:
        rows = [
            {"frontend": key, LAST_USED: at, "seconds": None if at is None else round(now - at)}
            for key, at in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(key) for key, _ in found), default=0)
    for key, _ in found:
        click.echo(printable(f"{key:{width}}  last used {told_of(uses, key, now)}"))


async def last_use_of(table: RouteTable, key: str) -> str:
    """In words; empty where nobody knows."""
    uses = await _known_uses(table)
    return "" if uses is None else told_of(uses, key, time.time())


async def last_use_as_json(table: RouteTable, key: str) -> dict[str, float | None]:
    """In Unix seconds, None for never; empty where nobody knows."""
    uses = await _known_uses(table)
    return {} if uses is None else {LAST_USED: uses.by_key.get(key)}


async def _known_uses(table: RouteTable) -> LastUses | None:
    try:
        uses = await table.last_uses()
    except StoreUnavailable:  # this user may not read it
        return None
    return None if uses.why_unknown(0.0, time.time()) else uses


def told_of(uses: LastUses, key: str, now: float) -> str:
    """
    >>> told_of(LastUses(0.0, 9000.0, {"a.test": 8400.0}), "a.test", 9000.0)
    '10 min ago'
    >>> told_of(LastUses(0.0, 9000.0), "a.test", 9000.0)
    'more than 2 h 30 min ago, or never'
    """
    if (at := uses.by_key.get(key)) is not None:
        return f"{ago(max(0.0, now - at))} ago"
    return f"more than {ago(max(0.0, now - uses.since))} ago, or never"
