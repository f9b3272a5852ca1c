"""`hipache explain URL`: reads the store, changes nothing."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import asdict

import click

from ..admin.admin_client import AdminClient, AdminUnavailable
from ..admin.explaining import explanation_of, request_for
from ..balancing.explain_text import as_text
from ..config.structs import Config
from ..hooks.hook_calls import HookCalls, hook_calls
from ..proxy.assembly import make_forwarded
from ..stores import CachedStore
from .cli_options import config_option, json_option
from .failing import CommandFailed
from .open_store import run


@click.command()
@click.argument("url")
@click.option("--client", metavar="ADDRESS", help="The address of the client.")
@click.option(
    "-H", "--header", "fields", multiple=True, metavar="FIELD",
    help="A field of the request, as in 'Cookie: hipache=...'.",
)  # fmt: skip
@click.option(
    "--hooks", "asks_hooks", is_flag=True,
    help="Ask the hooks on_request and on_route, too: this runs your code.",
)  # fmt: skip
@config_option
@json_option
def explain(
    url: str, client: str | None, fields: tuple[str, ...], path: str | None,
    *, asks_hooks: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say what this proxy would do with a request for URL, and why, step by step.

    With the policy hash, or with sticky sessions, the backend depends on the client:
    describe it with --client and --header.
    """

    async def work(routes: CachedStore, config: Config) -> None:
        request = request_for(url, client or "", fields)
        async with AsyncExitStack() as stack:
            hooks: HookCalls | None = None
            if asks_hooks:
                if config.server.hooks is None:
                    raise CommandFailed(f"{config.source}: server.hooks names no module to ask")
                true_client = make_forwarded(config).true_client
                hooks = await stack.enter_async_context(hook_calls(config, true_client))
            found = await explanation_of(
                request, routes, config, lambda key: asyncio.to_thread(_in_flight, config, key),
                for_client=bool(client or fields), marks_are_shared=routes.store.shares_marks,
                hooks=hooks,
            )  # fmt: skip
        if as_json:
            click.echo(json.dumps(asdict(found), indent=2))
        else:
            click.echo("\n".join(as_text(found, now=time.time())))

    run(path, work)


def _in_flight(config: Config, key: str) -> dict[str, int] | None:
    """Requests in flight by URL, over all workers; None if no proxy answers here."""
    try:
        with AdminClient(config) as admin:
            answer = admin.ask("/api/backends", frontend=key)
    except AdminUnavailable:
        return None
    return {each["backend"]: each["in_flight"] for each in answer if each["backend"]}
