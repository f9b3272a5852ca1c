"""`hipache cert`: shows the certificates in the store, orders, renews and removes them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click

from ..balancing.explain_text import ago
from ..config.structs import Config
from ..masking import printable
from ..stores import driver_of
from ..stores.issuance import IssuanceState, IssuanceStore, Standing, Wish
from ..stores.table import by_domain
from ..stores.tables import RouteTable, frontend_in
from ..tls.acme.backoff import by_hand
from ..tls.acme.eligible import why_not_for
from ..tls.certificates import expiry
from .cli_options import FineDuration, config_option, json_option
from .command_group import CommandGroup
from .demo_https import authority_to_trust, how_to_trust
from .failing import CommandFailed, one_line
from .on_table import name_argument, read_config
from .waiting import waiting

STORE_TIMEOUT = 5.0
"""Seconds for each answer of the store."""
LOOK_EVERY = 0.2

CertWork = Callable[[IssuanceStore, Config], Awaitable[None]]


@click.group(cls=CommandGroup)
def cert() -> None:
    """Show, order, renew and remove certificates in the store."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One name. Times are Unix seconds."""

    name: str
    ends: float | None = None
    """None without a certificate, or where none can be read."""
    ordered_from: str = ""
    """Empty where somebody else put it there."""
    fingerprint: str = ""
    """SHA-256 of the certificate."""
    error: str = ""
    """Of the last attempt, if that failed."""
    failures: tuple[float, ...] = ()
    not_before: float | None = None
    """When the next attempt may be made."""

    @classmethod
    def of(cls, name: str, standing: Standing | None, state: IssuanceState | None) -> Shown:
        """From what is in the store."""
        ends, fingerprint = None, ""
        if standing is not None:
            try:
                ends = expiry(standing.certificate.encode()).timestamp()
                first = standing.certificate.partition("-----END CERTIFICATE-----")
                der = ssl.PEM_cert_to_DER_cert(f"{first[0]}{first[1]}".strip())
                fingerprint = hashlib.sha256(der).hexdigest()
            except (ValueError, IndexError):
                pass
        return cls(
            name, ends, standing.mark if standing else "", fingerprint,
            state.error if state else "", state.failures if state else (),
            state.not_before if state and state.not_before else None,
        )  # fmt: skip


@cert.command("list")
@config_option
@json_option
def list_(path: str | None, *, as_json: bool) -> None:
    """List the names that have a certificate in the store, or should have one."""

    async def work(store: IssuanceStore, config: Config) -> None:
        states = await store.states()
        found = {name: standing async for name, standing in store.standing()}
        names = sorted(found.keys() | states.keys(), key=by_domain)
        shown = [Shown.of(name, found.get(name), states.get(name)) for name in names]
        if as_json:
            click.echo(json.dumps([asdict(each) for each in shown], indent=2))
            return
        width = max(map(len, names), default=0)
        for each in shown:
            click.echo(printable(f"{each.name:{width}}  {_in_words(each, time.time())}"))

    _run(path, work)


@cert.command()
@name_argument
@config_option
@json_option
def show(name: str, path: str | None, *, as_json: bool) -> None:
    """Show the certificate of NAME, and what went wrong."""

    async def work(store: IssuanceStore, config: Config) -> None:
        standing, (_, state) = await store.stands(name), await store.progress(name)
        shown = Shown.of(name, standing, state)
        if as_json:
            click.echo(json.dumps(asdict(shown), indent=2))
            return
        lines = [
            ("certificate", _in_words(shown, time.time())),
            ("sha256", shown.fingerprint),
            ("wanted", (await store.wishes()).get(name, "")),
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
        authority = authority_to_trust(path)
        if not authority.root.exists():
            raise CommandFailed("there is no CA yet: 'hipache demo' makes one")
        click.echo(how_to_trust(authority))


def _in_words(shown: Shown, now: float) -> str:
    parts = ["no certificate"]
    if shown.ends is not None:
        day = datetime.fromtimestamp(shown.ends, UTC)
        left = shown.ends - now
        days = f"in {left / 86_400:.0f} days" if left > 0 else "it is over"
        parts = [f"ends {day:%Y-%m-%d %H:%M} UTC ({days})"]
    elif shown.ordered_from:
        parts = ["a certificate that cannot be read"]
    if shown.ends is not None:
        parts.append(f"from {shown.ordered_from}" if shown.ordered_from else "put there by hand")
    if shown.error:
        parts.append(f"failed: {shown.error}")
    if shown.not_before is not None and shown.not_before > now:
        parts.append(f"next attempt in {ago(shown.not_before - now)}")
    return ", ".join(parts)


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
                asked = f"{name} is wanted, but has none after {seconds:g} s"
                raise CommandFailed(f"{asked}: does a service run?")
    click.echo(f"{name}  {_in_words(Shown.of(name, standing, None), time.time())}")


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
