"""What can be wrong with the Redis that holds the routes, read from its INFO. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .findings import Commands, Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

Info = Mapping[str, str]
"""The fields of INFO, as text."""

NEEDED = (6, 0)
"""Since this version Redis reports changed keys to its readers; every Valkey does."""
FULL = 0.9
SKEW = 2.0
"""Seconds by which two clocks may differ before marks end noticeably early or late."""


def version_of(info: Info) -> tuple[str, str]:
    """The server's name and version. Valkey also reports an old Redis's as `redis_version`."""
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"]
    return "Redis", info.get("redis_version", "unknown")


def of_server(info: Info, name: str, *, alone: bool, commands: Commands) -> Iterator[Finding]:
    """Check what INFO says. `alone`: marks are written here, too, not to another server."""
    who, version = version_of(info)
    if who == "Redis" and _numbers(version) < NEEDED:
        yield Finding(
            WARNING, "redis-version", name, f"Redis {version} does not report changes",
            "A worker may use an outdated route for server.lruCache.ttl seconds (default 1).",
            advice="Redis 6 or later, or any Valkey, reports changes at once.",
        )  # fmt: skip
    yield from _of_memory(info, name, commands)
    yield from _of_role(info, name, alone)
    yield from _of_disk(info, name, commands)


def _of_memory(info: Info, name: str, commands: Commands) -> Iterator[Finding]:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = info.get("maxmemory_policy", "noeviction")
    if not limit:
        return
    if policy != "noeviction":
        yield Finding(
            ERROR if policy.startswith("allkeys") else WARNING, "redis-evicts", name,
            f"maxmemory-policy is {policy}",
            "When its memory is full, Redis deletes routes "
            + ("to make room." if policy.startswith("allkeys") else "that have an expiry."),
            commands.redis("config", "set", "maxmemory-policy", "noeviction"),
            "Write it into redis.conf, too: this lasts until the next start of Redis.",
        )  # fmt: skip
    if used > FULL * limit:
        yield Finding(
            WARNING, "redis-memory", name,
            f"{_mb(used)} of maxmemory {_mb(limit)} MB are used",
            "When it is full, Redis refuses to store marks and new routes"
            + (", or evicts old ones." if policy != "noeviction" else "."),
            commands.redis("config", "set", "maxmemory", str(2 * limit)),
            "Write it into redis.conf, too: this lasts until the next start of Redis.",
        )  # fmt: skip


def _of_role(info: Info, name: str, alone: bool) -> Iterator[Finding]:
    if info.get("role") != "slave":
        return
    primary = f"{info.get('master_host')}:{info.get('master_port')}"
    if alone:
        yield Finding(
            ERROR, "redis-replica", name, "it is a replica, which accepts no writes",
            "Workers cannot share which backends are dead, and routes cannot be changed.",
            advice=f'Name both in driver: ["{name}", "redis://{primary}"].',
        )  # fmt: skip
    if info.get("master_link_status") == "down":
        yield Finding(
            ERROR, "redis-link", name, f"this replica has lost its primary {primary}",
            "Routes are read here, and have not changed since the link broke.",
            advice="Restore the primary, or promote this replica: replicaof no one.",
        )  # fmt: skip


def _of_disk(info: Info, name: str, commands: Commands) -> Iterator[Finding]:
    if "err" in (info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status")):
        yield Finding(
            ERROR, "redis-disk", name, "Redis could not save its data",
            "It may refuse every write (MISCONF): no marks, no new routes.",
            commands.redis("bgsave"),
            "Its log says why; usually the disk is full. When that is fixed:",
        )  # fmt: skip


def of_persistence(info: Info, save: str, name: str, commands: Commands) -> Iterator[Finding]:
    """Check that data is kept on disk. `save` is the server's setting of that name."""
    if not save and info.get("aof_enabled") == "0" and info.get("role") != "slave":
        yield Finding(
            NOTE, "redis-forgets", name, "Redis keeps its data in memory only",
            "All routes are lost when it restarts, unless a program writes them again.",
            commands.redis("config", "set", "save", "3600 1 300 100 60 10000"),
            "Write it into redis.conf, too: this lasts until the next start of Redis.",
        )  # fmt: skip


def of_coverage(coverage: str, name: str) -> Iterator[Finding]:
    """Check what the others do when a primary of the cluster is lost. `name` is `host:port`."""
    if coverage == "yes":
        host, _, port = name.rpartition(":")
        yield Finding(
            WARNING, "redis-coverage", name, "cluster-require-full-coverage is yes",
            "When one primary is lost, all others refuse commands, too: no host is read any more.",
            f"redis-cli -h {host} -p {port} config set cluster-require-full-coverage no",
            "Write it into redis.conf of every server, too: this lasts until the next start.",
        )  # fmt: skip


def of_clock(theirs: float, ours: float, name: str) -> Iterator[Finding]:
    """Compare the clocks. Both times are Unix seconds."""
    skew = theirs - ours
    if abs(skew) >= SKEW:
        yield Finding(
            WARNING, "clock", name,
            f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
            "Marks on dead backends end too early or too late, and heartbeats look old.",
            "timedatectl set-ntp true",
            "On the machine whose clock is wrong:",
        )  # fmt: skip


def of_ping(value: str, by_us: bool, now: float, commands: Commands) -> Iterator[Finding]:
    """Check `hchecker_ping`, the heartbeat of an active checker (Unix seconds)."""
    if not value.isdecimal() or int(value) > now + 60:
        yield Finding(
            WARNING, "checker-ping", "hchecker_ping",
            f"it holds {value!r}, which is not a time in the past",
            "While it looks fresh, workers leave marking dead backends to a checker.",
            commands.redis("del", "hchecker_ping"),
        )  # fmt: skip
    elif not by_us and now - int(value) <= 30:
        yield Finding(
            NOTE, "foreign-checker", "hchecker_ping", "another program checks backends",
            "While it does, our workers announce failures and leave marking to it, as Hipache did.",
        )  # fmt: skip


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f}"
