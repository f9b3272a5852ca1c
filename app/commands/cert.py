"""`hipache cert`: shows the certificates in the store, orders, renews and removes them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import click

from ..balancing.explain_text import ago
from ..config.structs import Config
from ..masking import printable
from ..stores import driver_of
from ..stores.issuance import IssuanceStore, Wish
from ..stores.table import by_domain
from ..stores.tables import RouteTable, frontend_in
from ..tls.acme.backoff import by_hand
from ..tls.acme.eligible import why_not_for
from ..workers.privileges import make_folder
from ..workers.start_checks import workers_ids
from .cert_shown import Shown, in_words
from .cli_options import FineDuration, config_option, json_option
from .command_group import CommandGroup
from .demo_config import read_config
from .demo_https import how_to_trust, local_authority
from .failing import CommandFailed, one_line
from .on_table import name_argument
from .waiting import waiting

STORE_TIMEOUT = 5.0
"""Seconds for each answer of the store."""
LOOK_EVERY = 0.2

CertWork = Callable[[IssuanceStore, Config], Awaitable[None]]


@click.group(cls=CommandGroup)
def cert() -> None:
    """Show, order, renew and remove certificates in the store."""


@cert.command("list")
@config_option
@json_option
def list_(path: str | None, *, as_json: bool) -> None:
    """List the names that have a certificate in the store, or should have one."""

    async def work(store: IssuanceStore, config: Config) -> None:
        states, wishes = await store.states(), await store.wishes()
        found = {name: standing async for name, standing in store.standing()}
        names = sorted(found.keys() | states.keys() | wishes.keys(), key=by_domain)
        shown = [
            Shown.of(name, found.get(name), states.get(name), wishes.get(name, ""))
            for name in names
        ]
        if as_json:
            click.echo(json.dumps([asdict(each) for each in shown], indent=2))
            return
        width = max(map(len, names), default=0)
        for each in shown:
            wanted = f", wanted: {each.wanted}" if each.wanted else ""
            click.echo(printable(f"{each.name:{width}}  {in_words(each, time.time())}{wanted}"))

    _run(path, work)


@cert.command()
@name_argument
@config_option
@json_option
def show(name: str, path: str | None, *, as_json: bool) -> None:
    """Show the certificate of NAME, and what went wrong."""

    async def work(store: IssuanceStore, config: Config) -> None:
        standing, (_, state) = await store.stands(name), await store.progress(name)
        shown = Shown.of(name, standing, state, (await store.wishes()).get(name, ""))
        if as_json:
            click.echo(json.dumps(asdict(shown), indent=2))
            return
        lines = [
            ("certificate", in_words(shown, time.time())),
            ("sha256", shown.fingerprint),
            ("wanted", shown.wanted),
            ("not ordered", await _why_not(name, config) or ""),
        ]
        for label, text in lines:
            if text:
                click.echo(printable(f"{label:12} {text}"))

    _run(path, work)


_wait_option = click.option(
    "--wait", type=FineDuration(), default="1m", show_default=True, help="How long to wait for it."
)


@cert.command()
@name_argument
@_wait_option
@config_option
def order(name: str, wait: float, path: str | None) -> None:
    """Order a certificate for NAME, if it has none."""
    _run(path, lambda store, config: _wish(store, config, name, Wish.ORDER, wait))


@cert.command()
@name_argument
@_wait_option
@config_option
def renew(name: str, wait: float, path: str | None) -> None:
    """Order a new certificate for NAME now."""
    _run(path, lambda store, config: _wish(store, config, name, Wish.RENEW, wait))


@cert.command()
@name_argument
@config_option
def remove(name: str, path: str | None) -> None:
    """Remove the certificate of NAME and its key from the store."""

    async def work(store: IssuanceStore, config: Config) -> None:
        if not await store.remove(name):
            raise CommandFailed(f"{name} has no certificate in the store")
        again = config.https.acme.agree and await _why_not(name, config) is None
        click.echo(f"{name}  removed" + (
            "; the next client orders another one, unless its frontend says acme off" * again
        ))  # fmt: skip

    _run(path, work)


@cert.command()
@config_option
def trust(path: str | None) -> None:
    """Print how to make programs of this machine trust the CA of 'hipache demo'."""
    with one_line():
        authority = local_authority(read_config(path))
        if not authority.root.exists():
            raise CommandFailed("there is no CA yet: 'hipache demo' makes one")
        click.echo(how_to_trust(authority))


async def _wish(
    store: IssuanceStore, config: Config, name: str, wish: Wish, seconds: float
) -> None:
    if not config.https.acme.agree:
        raise CommandFailed("https.acme.agree is not true: nothing is ordered")
    if (reason := await _why_not(name, config)) is not None:
        raise CommandFailed(reason)
    before, (_, state) = await store.stands(name), await store.progress(name)
    if before is not None and wish is Wish.ORDER:
        click.echo(f"{name}  has one already: 'hipache cert renew {name}' orders another")
        return
    if state is not None and (until := by_hand(state.failures)) > time.time():
        wait = ago(until - time.time())
        raise CommandFailed(f"{name} failed too often in the last hour, try again in {wait}")
    if store.certs is not None and (ids := workers_ids(config)) is not None:
        folder = Path(config.https.acme.folder)  # for the proxy, which may be started later
        for each in (folder.parent, folder):
            make_folder(each, *ids)
    if not await store.wish(name, wish):
        raise CommandFailed("too many names wait for a certificate already")
    deadline = time.monotonic() + seconds
    with waiting(f"waiting for a certificate for {name}"):
        while (standing := await store.stands(name)) is None or standing == before:
            await asyncio.sleep(LOOK_EVERY)
            _, new = await store.progress(name)
            if new is not None and new != state:
                raise CommandFailed(f"{name}: {new.error}")
            if time.monotonic() > deadline:
                raise CommandFailed(f"{name} {await _none_came(store, seconds)}")
    click.echo(f"{name}  {in_words(Shown.of(name, standing, None), time.time())}")


async def _none_came(store: IssuanceStore, seconds: float) -> str:
    """What to say where nothing is known of the name itself: a failed CA holds up all names."""
    now, states = time.time(), await store.states()
    failing = {name: each for name, each in states.items() if each.not_before > now}
    last = max(failing, key=lambda name: failing[name].not_before, default=None)
    hint = f" {last} failed: {failing[last].error}" if last else ""
    return f"is wanted, but has none after {seconds:g} s: does a service run?{hint}"


async def _why_not(name: str, config: Config) -> str | None:
    """Why no certificate is ordered for it."""
    table: RouteTable = driver_of(config).table()
    try:
        return why_not_for(name, await frontend_in(table, name))
    finally:
        await table.aclose()


def _run(path: str | None, work: CertWork) -> None:
    async def with_store(config: Config) -> None:
        driver = driver_of(config)
        store = driver.issuance(config.https.acme.folder, timeout=STORE_TIMEOUT)
        try:
            with driver.hold():
                await work(store, config)
        finally:
            await store.aclose()

    with one_line():
        asyncio.run(with_store(read_config(path)))
