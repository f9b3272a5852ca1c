"""`hipache explain URL`: reads the store, changes nothing."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

import click

from ..admin.client import AdminClient, NobodyTells
from ..balancing.balancer import Balancer, RequestFacts
from ..balancing.explain import Explanation, decided, not_found, refused
from ..balancing.explain import explain as explained
from ..balancing.explain_text import as_text
from ..balancing.sticky import secret_of
from ..config.defaults import default_options
from ..config.deny_list import DenyList
from ..config.structs import Config
from ..errors import BadHost, Forbidden, FrontendNotFound, Unauthorized
from ..frontends.passwords import credentials
from ..frontends.protection import Protection
from ..routing import Route, lookup_keys, normalise_host
from ..stores import CachedStore
from .failing import CommandFailed
from .open_store import run
from .options import config_option, json_option


@click.command()
@click.argument("url")
@click.option("--client", metavar="ADDRESS", help="Whose request it is.")
@click.option(
    "-H", "--header", "fields", multiple=True, metavar="FIELD",
    help="A field of the request, as in 'Cookie: hipache=...'.",
)  # fmt: skip
@config_option
@json_option
def explain(
    url: str, client: str | None, fields: tuple[str, ...], path: str | None, *, as_json: bool
) -> None:
    """Say what this proxy would do with a request for URL, and why, step by step.

    Which backend a client gets by policy hash, or by its sticky cookie, depends
    on the client: --client and --header tell.
    """

    async def work(routes: CachedStore, config: Config) -> None:
        host = _host(url)
        keys = lookup_keys(host)
        try:
            route = await routes.find(host)
        except FrontendNotFound:
            found = not_found(host, keys)
        else:
            defaults = default_options(config)
            in_flight = await asyncio.to_thread(_in_flight, config, route.frontend.key)
            found = explained(
                host, keys, route.frontend, route.marks, defaults,
                now=time.time(), in_flight=in_flight,
            )  # fmt: skip
            if not routes.store.shares_marks:
                remark = "marks live in each worker and are not known here"
                found = replace(found, remarks=(*found.remarks, remark))
            found = _with_denied(found, route, config)
            if client or fields:
                found = _for_client(found, route, config, _facts(client or "", fields))
        if as_json:
            click.echo(json.dumps(asdict(found), indent=2))
        else:
            click.echo("\n".join(as_text(found, now=time.time())))

    run(path, work)


def _in_flight(config: Config, key: str) -> dict[str, int] | None:
    """By URL, of all workers of the proxy that runs here; None where none tells."""
    try:
        with AdminClient(config) as admin:
            told = admin.ask("/api/backends", frontend=key)
    except NobodyTells:
        return None
    return {each["backend"]: each["in_flight"] for each in told if each["backend"]}


def _facts(client: str, fields: tuple[str, ...]) -> RequestFacts:
    headers = []
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon:
            raise CommandFailed(f"{field!r} is no field: expected 'Name: value'")
        headers.append((name.strip().lower().encode(), value.strip().encode()))
    return RequestFacts(client, headers)


def _for_client(
    found: Explanation, route: Route, config: Config, facts: RequestFacts
) -> Explanation:
    """What a worker would do, where that does not depend on chance or on its load."""
    secret = secret_of(config.balance.secret, config.driver)
    defaults = default_options(config)
    balancer = Balancer(defaults, random=lambda: 0.0, clock=time.time, secret=secret)
    protection = balancer.options(route).protection
    if protection is not None and (why := _refusal(protection, facts)):
        return refused(found, why)
    if len(found.choice) < 2:
        return found
    backend = balancer.pick(route, facts)
    if found.sticky and balancer.cookie(route, backend, facts, secure=False) is None:
        return decided(found, backend.url, f"the cookie {found.sticky} leads here")
    if found.policy.startswith("hash"):
        return decided(found, backend.url, f"{found.policy} leads here")
    return found


def _refusal(protection: Protection, facts: RequestFacts) -> str:
    """What such a client is answered, where no chance and nobody else decides that."""
    if protection.unreadable:
        return ""  # which the explanation says already
    if facts.client and not protection.lets_in(facts.client):
        return f"{Forbidden.status} {Forbidden.message}"
    if protection.users and (said := facts.header(b"authorization")) is not None:
        user, password = credentials(said) or ("", b"")
        kept = protection.users.get(user)
        if kept is None or not kept.matches(password):
            return f"{Unauthorized.status} {Unauthorized.message}"
    return ""


def _with_denied(found: Explanation, route: Route, config: Config) -> Explanation:
    """Tell which backends are never connected to, as far as that shows without a resolver."""
    deny = config.server.deny_backends.value
    remarks = [
        f"never connected to: {backend.url}"
        for backend in route.frontend.backends
        if (backend.scheme == "unix" and deny.refuses_socket(backend.host))
        or (backend.scheme != "unix" and _denied(deny, backend.host))
    ]
    return replace(found, remarks=(*found.remarks, *remarks))


def _denied(deny: DenyList, host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return deny.refuses_name(host)
    return deny.refuses(host)


def _host(url: str) -> str:
    """The host that a client would send for this URL; one without a scheme will do."""
    try:
        netloc = urlsplit(url if "://" in url else f"http://{url}").netloc
        return normalise_host(
            netloc.rpartition("@")[2].encode("idna" if not url.isascii() else "ascii")
        )
    except (BadHost, ValueError) as exc:
        raise CommandFailed(f"{url}: {exc}") from None
