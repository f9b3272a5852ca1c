"""Reads the store that holds the routes, and checks what it holds. Changes nothing."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..config.structs import Config
from ..errors import ConfigError, HipacheError
from ..routing import parse_frontend
from ..stores import StoreDriver, driver_of
from ..stores.driver import NotOffered
from ..stores.inspection import Inspection, ServerFacts
from ..stores.table import TableError
from ..tls.certificates import expiry, load_text
from ..upstream.destinations import configured
from .certificates import of_expiry, unusable
from .findings import Commands, Finding, Severity
from .marks import of_marks
from .prefixes import of_prefixes
from .redis_server import of_clock, of_coverage, of_persistence, of_ping, of_server, version_of
from .routes import of_frontend, of_orphan, of_type
from .unreachable import Unreachable, of_unreachable

NEW_PAIR = ' certificate "$(cat new.crt)" key "$(cat new.key)"'


LookedAt = Callable[[int, int], None]
"""Is told of how many keys of the store were looked at, and how many there are."""


async def look(
    config: Config,
    commands: Commands,
    *,
    timeout: float,
    lost: Unreachable = MappingProxyType({}),
    sample: int | None = None,
    looked_at: LookedAt = lambda count, total: None,
) -> tuple[list[Finding], str]:
    """Check the store and its content; also returns a phrase that says what was checked.

    `lost`: backends that took no connection lately; `sample`: frontends after which it is enough.
    """
    driver, seen = driver_of(config), _Seen(lost)
    try:
        async with aclosing(driver.inspect(timeout=timeout)) as parts:
            async for part in parts:
                seen.take(part, driver, config, commands)
                looked_at(seen.looked, seen.total)
                if sample is not None and seen.count >= sample:
                    seen.sampled = True
                    break
    except NotOffered as exc:
        return [_unread(driver, exc)], f"{driver.name} (but not its routes)"
    except TableError as exc:
        return [_bad_table(driver, exc)], driver.name
    except HipacheError as exc:
        keeps = isinstance(exc, ConfigError) or driver.private
        return [_away(driver, driver.name, exc, keeps_from_starting=keeps)], driver.name
    if not seen.count:
        seen.found[_none_at_all(driver.name, seen.commands or commands)] = None
    return [*seen.found], seen.told(driver.name)


@dataclass(slots=True)
class _Seen:
    """What was seen of the store so far."""

    lost: Unreachable
    found: dict[Finding, None] = field(default_factory=dict)
    """A key that is looked at twice is told once."""
    commands: Commands | None = None
    server: str = ""
    count: int = 0
    """Frontends."""
    looked: int = 0
    total: int = 0
    """Keys, of all programs."""
    sampled: bool = False

    def take(self, part: Inspection, driver: StoreDriver, config: Config, given: Commands) -> None:
        if self.commands is None:
            self.commands = replace(
                given, prefix=part.prefix, tagged=part.tagged, can_mend_keys=part.commands
            )
            self.total = part.total
            if part.servers:
                self.server = f", {' '.join(version_of(part.servers[0].info))}"
        self.found |= dict.fromkeys(_judged(part, driver, config, self.commands, self.lost))
        self.count += len(part.frontends)
        self.looked += part.looked

    def told(self, name: str) -> str:
        some = "a sample of " * self.sampled
        return f"{name}{self.server} ({some}{self.count} frontend{'s' * (self.count != 1)})"


def _unread(driver: StoreDriver, exc: NotOffered) -> Finding:
    return Finding(
        Severity.NOTE, "store-unread", driver.name, f"its routes were not looked at: {exc}",
        "Workers serve them, but nobody checks them here.",
        advice="If there is a server behind it, ask with a configuration whose driver names that.",
    )  # fmt: skip


def _bad_table(driver: StoreDriver, exc: TableError) -> Finding:
    return Finding(
        Severity.ERROR, "bad-table", driver.name, str(exc),
        "Workers keep the last valid table; a worker that starts now has no routes.",
        *driver.remedy(exc),
    )  # fmt: skip


def _away(
    driver: StoreDriver, name: str, exc: HipacheError, *, keeps_from_starting: bool = False
) -> Finding:
    return Finding(
        Severity.ERROR, "store-away", name, f"it cannot be read: {exc}",
        "'hipache serve' does not start."
        if keeps_from_starting
        else "Workers serve the routes that they know already; every other request gets 503.",
        *driver.remedy(exc),
    )  # fmt: skip


def _judged(
    seen: Inspection, driver: StoreDriver, config: Config, commands: Commands, lost: Unreachable
) -> Iterator[Finding]:
    for server in seen.servers:
        yield from _of_one_server(server, commands)
    if seen.primary_away is not None:
        yield _away(driver, *seen.primary_away)
    objection, now = configured(config).objection, time.time()
    for key, listed in seen.frontends.items():
        frontend = parse_frontend(key, listed.rows, listed.options)
        yield from of_frontend(frontend, listed, seen.there, objection, commands)
        yield from of_unreachable(frontend, lost, now, commands)
    yield from of_prefixes(seen.paths, seen.there, seen.unnamed, commands)
    longest = max(config.server.dead_backend_ttl, config.server.dead_backend_max_ttl)
    for key, marks in seen.marks.items():
        yield from of_marks(key, marks, now, longest, commands)
    for kind, key in seen.orphans:
        yield of_orphan(f"{kind}:", key, commands)
    for wrong in seen.wrong_types:
        yield of_type(*wrong, commands)
    for name, (certificate, private) in seen.certificates.items():
        yield from _of_certificate(name, certificate, private, commands)


def _of_one_server(server: ServerFacts, commands: Commands) -> Iterator[Finding]:
    theirs, ours = server.clock
    yield from of_clock(theirs, ours, server.name)
    yield from of_server(server.info, server.name, alone=server.alone, commands=commands)
    if server.save is not None:
        yield from of_persistence(server.info, server.save, server.name, commands)
    if server.coverage is not None:
        yield from of_coverage(server.coverage, server.name)
    if server.ping is not None:
        yield from of_ping(*server.ping, time.time(), commands)


def _of_certificate(
    name: str, certificate: str, private: str, commands: Commands
) -> Iterator[Finding]:
    key = f"tls:{name}"
    renew = commands.redis("hset", key)
    renew = renew and renew + NEW_PAIR
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_text(context, certificate, private, name=key)
        yield from of_expiry(key, expiry(certificate.encode()), renew)
    except (ConfigError, ValueError) as exc:
        yield unusable(key, str(exc), renew)


def _none_at_all(name: str, commands: Commands) -> Finding:
    example = commands.hipache("route", "set", "www.example.com", "http://127.0.0.1:8000")
    return Finding(
        Severity.NOTE, "no-routes", name, "it holds no frontend",
        "Every request is answered with 400.", example, "Add one, for example:",
    )  # fmt: skip
