"""Many new frontends of a cluster at once: two trips to each primary for all of them.

Only lists are written so, each where there is none by now, and then the prefixes, by which a host
finds them. Options are in other slots: whether somebody else is just writing them cannot be known
in one trip, so frontends that have any are written one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from ....frontends.site import host_of, prefix_of
from ...table import Entry
from ..keys import FRONTEND, PATHS, KeyNames
from .cluster_connections import ClusterConnections
from .parts import ClusterCommand

MOST_ROWS = 1_000
"""Of one list: a script can name no more than some thousand arguments."""
CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
if ARGV[1] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""


def is_plain(entry: Entry) -> bool:
    """Can it be written in this way?"""
    settings = entry.options or entry.healthcheck
    return entry.listed and not settings and len(entry.rows) <= MOST_ROWS


async def create(
    cluster: ClusterConnections, names: KeyNames, wanted: Mapping[str, Entry]
) -> tuple[set[str], Exception | None]:
    """Write these plain frontends, of which none had a list, nor options left from before.

    Returns the keys of those that are written, and the first error. The others are there by now, or
    this user may run no scripts.
    """
    answers = await _ask(cluster, [_list(names, key, entry) for key, entry in wanted.items()])
    created = [key for key, answer in zip(wanted, answers, strict=True) if answer == 1]
    prefixes = [(names.of(PATHS, host_of(key)), prefix_of(key)) for key in created]
    answers += await _ask(cluster, [("SADD", *pair) for pair in prefixes if pair[1]])
    return set(created), _first_error(answers)


async def _ask(cluster: ClusterConnections, commands: Sequence[ClusterCommand]) -> list[Any]:
    try:
        return await cluster.ask(commands) if commands else []
    except (RedisError, OSError) as exc:
        return [exc] * len(commands)


def _first_error(answers: Iterable[Any]) -> Exception | None:
    errors = (answer for answer in answers if isinstance(answer, Exception))
    return next((error for error in errors if not isinstance(error, NoPermissionError)), None)


def _list(names: KeyNames, key: str, entry: Entry) -> ClusterCommand:
    ttl = "" if entry.ttl is None else entry.ttl
    return ("EVAL", CREATE, 1, names.of(FRONTEND, key), ttl, *entry.rows)
