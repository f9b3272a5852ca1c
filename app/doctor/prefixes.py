"""What can be wrong with the prefixes of hosts: `paths:<host>` and the lists it names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping

from ..frontends.site import can_match, host_of, prefix_of
from .findings import Commands, Finding, Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def of_prefixes(
    paths: Mapping[str, Collection[str]],
    there: Container[str],
    unnamed: Iterable[str],
    commands: Commands,
) -> Iterator[Finding]:
    """Hold sets of prefixes, by host, against the keys that have a list, and say of `unnamed`
    keys that the set of their host lacks them."""
    for host, prefixes in paths.items():
        for prefix in prefixes:
            if not can_match(prefix):
                yield _never(host, prefix, commands)
            elif host + prefix not in there:
                yield _without_list(host, prefix, commands)
    for key in unnamed:
        if can_match(prefix_of(key)):
            yield _not_named(host_of(key), prefix_of(key), commands)


def _never(host: str, prefix: str, commands: Commands) -> Finding:
    return Finding(
        WARNING, "prefix-never-matches", f"paths:{host}", f"{prefix!r} is no prefix of a path",
        "No request is sent by it. A prefix is '/' and what follows, without '/' at its end.",
        commands.redis("srem", f"paths:{host}", prefix),
    )  # fmt: skip


def _without_list(host: str, prefix: str, commands: Commands) -> Finding:
    return Finding(
        WARNING, "prefix-without-list", f"paths:{host}",
        f"it names {prefix}, but there is no frontend:{host}{prefix}",
        "Requests below it go to a shorter prefix or to the host's own list, else they get 400.",
        commands.redis("srem", f"paths:{host}", prefix),
        "Perhaps its list has expired. If nobody writes it again:",
    )  # fmt: skip


def _not_named(host: str, prefix: str, commands: Commands) -> Finding:
    return Finding(
        ERROR, "list-without-prefix", f"{host}{prefix}",
        f"paths:{host} does not name {prefix}",
        "Its backends get no traffic: workers learn of prefixes from that set.",
        commands.redis("sadd", f"paths:{host}", prefix),
        "Write both keys in one MULTI, or use 'hipache route'. To mend this one:",
    )  # fmt: skip
