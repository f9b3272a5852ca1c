"""Many new frontends of a cluster at once: three trips to each primary for all of them.

What is written is invisible until the list is there, so the options of all come first. Then come
the lists, each only where there is none by now, and then the prefixes, by which a host finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from ....frontends.site import host_of, prefix_of
from ...table import Entry
from ..keys import FRONTEND, PATHS, KeyNames
from ..table import settings_of
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


async def create(
    cluster: ClusterConnections, names: KeyNames, wanted: Mapping[str, Entry]
) -> set[str]:
    """Write these, of which none had a list. Returns the keys of those that are written.

    The others are there by now, or cannot be written in this way, or this user may run no scripts.
    Raises RedisError, OSError.
    """
    keys = [key for key, entry in wanted.items() if entry.listed and len(entry.rows) <= MOST_ROWS]
    await _ask(cluster, [each for key in keys for each in _settings(names, key, wanted[key])])
    try:
        answers = await _ask(cluster, [_list(names, key, wanted[key]) for key in keys])
    except NoPermissionError:
        return set()
    created = [key for key, answer in zip(keys, answers, strict=True) if answer]
    await _ask(
        cluster,
        [
            ("SADD", names.of(PATHS, host_of(key)), prefix)
            for key in created
            if (prefix := prefix_of(key))
        ],
    )
    return set(created)


async def _ask(cluster: ClusterConnections, commands: Sequence[ClusterCommand]) -> list[Any]:
    answers = await cluster.ask(commands) if commands else []
    if failed := next((answer for answer in answers if isinstance(answer, Exception)), None):
        raise failed
    return answers


def _settings(names: KeyNames, key: str, entry: Entry) -> list[ClusterCommand]:
    commands: list[ClusterCommand] = []
    for kind, settings in settings_of(entry).items():
        if settings:
            name = names.of(kind, key)
            commands.append(("DEL", name))  # whatever its type was
            commands.append(("HSET", name, *(part for item in settings.items() for part in item)))
    return commands


def _list(names: KeyNames, key: str, entry: Entry) -> ClusterCommand:
    ttl = "" if entry.ttl is None else entry.ttl
    return ("EVAL", CREATE, 1, names.of(FRONTEND, key), ttl, *entry.rows)
