"""`hipache dead`: lists the marks on backends, and sets and clears them by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

import click

from ..balancing.explain_text import ago
from ..config.structs import Config
from ..errors import FrontendNotFound
from ..frontends.backends import trimmed
from ..frontends.site import host_of, prefix_of
from ..routing import Backend, Frontend, Mark, normalise_host
from ..stores import CachedStore
from ..stores.base import FOREIGN, Found
from ..system.operator import operator
from .cli_options import Duration, config_option, json_option
from .command_group import CommandGroup
from .failing import CommandFailed
from .open_store import run


@click.group(cls=CommandGroup)
def dead() -> None:
    """Show, set and clear the marks on dead backends."""


@dead.command("list")
@click.argument("hosts", nargs=-1, metavar="[HOST[/PREFIX]]...")
@config_option
@json_option
def list_(hosts: tuple[str, ...], path: str | None, *, as_json: bool) -> None:
    """List the marked backends of HOST, or of every frontend."""

    async def work(routes: CachedStore, config: Config) -> None:
        _must_share(routes)
        rows = []
        for key in [_key(host) for host in hosts] or await routes.store.marked_keys():
            found = await routes.store.lookup(key)
            rows += list(_rows(key, found)) if found else []
        if as_json:
            click.echo(json.dumps(rows, indent=2))
            return
        for row in rows:
            click.echo(_line(row))

    run(path, work)


def _rows(key: str, found: Found) -> Iterator[dict[str, object]]:
    """One row for each mark under `key`."""
    own = found.frontend.key == key
    for backend in found.frontend.backends:
        mark = (found.marks if own else found.host_marks).get(backend.url)
        if mark is not None:
            state = "dead" if mark.until > time.time() else "on trial"
            yield {"frontend": key, "backend": backend.url, "state": state, **_as_json(mark)}


def _as_json(mark: Mark) -> dict[str, object]:
    forever = mark.until == float("inf")  # JSON has no infinity
    return {**asdict(mark), "until": None if forever else mark.until}


def _line(row: dict[str, object]) -> str:
    until, since, now = row["until"], row["since"], time.time()
    left = "for ever" if until is None else "mark lapsed"
    if isinstance(until, float) and until > now:
        left = f"for {ago(until - now)} more"
    assert isinstance(since, float)
    return (
        f"{row['frontend']}  {row['backend']}  {row['state']} {left}, since {ago(now - since)}, "
        f"failures {row['failures']}, by {row['by']}: {row['reason']}"
    )


@dead.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("url")
@click.option(
    "--for", "seconds", type=Duration("3650d"),
    help="How long it lasts; default: server.deadBackendTTL. Then one request tries it again.",
)  # fmt: skip
@click.option("--reason", default="marked by hand", show_default=True)
@config_option
def mark(host: str, url: str, *, seconds: int | None, reason: str, path: str | None) -> None:
    """Mark the backend URL of HOST dead, for all proxies."""

    async def work(routes: CachedStore, config: Config) -> None:
        _must_share(routes)
        found = await _found(routes, host)
        backend = _backend(found.frontend, url)
        now, known = time.time(), found.marks.get(backend.url)
        lasts = seconds or config.server.dead_backend_ttl or 30.0
        new = Mark(now + lasts, known.since if known else now, reason, operator())
        last = max(new.until, *(m.until for m in found.marks.values() if m.by != FOREIGN), 0.0)
        await routes.store.write_mark(found.frontend, backend, new, shared_until=last)
        click.echo(f"{found.frontend.key}  {backend.url}  dead for {ago(lasts)}")

    run(path, work)


@dead.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("url", required=False)
@config_option
def clear(host: str, url: str | None, path: str | None) -> None:
    """Clear the mark on the backend URL of HOST, or all its marks, also those of other programs."""
    _clear(host, url, path)


@click.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("url", required=False)
@config_option
def revive(host: str, url: str | None, path: str | None) -> None:
    """Let the dead backend URL of HOST serve again, or all its dead ones, for all proxies."""
    _clear(host, url, path)


def _clear(host: str, url: str | None, path: str | None) -> None:
    async def work(routes: CachedStore, config: Config) -> None:
        _must_share(routes)
        found, count = await _found(routes, host), 0
        wanted = {_backend(found.frontend, url).url} if url else None
        at_host = replace(found.frontend, key=_key(host))
        for frontend, marks in ((found.frontend, found.marks), (at_host, found.host_marks)):
            for backend in frontend.backends:
                if backend.url in marks and (wanted is None or backend.url in wanted):
                    await routes.store.erase_mark(frontend, backend)
                    click.echo(f"{frontend.key}  {backend.url}  cleared")
                    count += 1
        if not count:
            click.echo("no mark to clear")

    run(path, work)


def _must_share(routes: CachedStore) -> None:
    if not routes.store.shares_marks:
        raise CommandFailed(f"{routes.store.name}: marks live in each worker and are not shared")


def _key(host: str) -> str:
    name, prefix = host_of(host), prefix_of(host)
    name = name if name == "*" or name.startswith("*.") else normalise_host(name.encode())
    return name + prefix


async def _found(routes: CachedStore, host: str) -> Found:
    found = await routes.store.lookup(_key(host))
    if found is None or (found.frontend.site is not None and not found.frontend.site.listed):
        raise FrontendNotFound(f"no frontend serves {host}")
    return found


def _backend(frontend: Frontend, url: str) -> Backend:
    for backend in frontend.backends:
        if trimmed(backend.url) == trimmed(url):
            return backend
    urls = ", ".join(backend.url for backend in frontend.backends)
    raise CommandFailed(f"{url} is not a backend of {frontend.key}, which has {urls or 'none'}")
