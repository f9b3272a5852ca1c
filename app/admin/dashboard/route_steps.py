"""What the forms of a frontend's page change. Each change is checked, made as a whole, and stands
in the journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ...frontends.backends import trimmed
from ...stores import steered
from ...stores.journal import undone
from ...stores.meant import check_change
from ...stores.table import Entry, Table, TableError, existing
from ...upstream.destinations import configured
from .desk import Desk

Form = Mapping[str, str]
Step = Callable[[Entry, Form], Entry]

SEARCHED = 1_000
"""Changes of a host and its prefixes among which the last one of its own is looked for."""


def _shut(entry: Entry, form: Form) -> Entry:
    retry = form.get("retry", "").strip()
    if retry and not re.fullmatch("[0-9]{1,6}", retry):
        raise TableError("come again after: expected whole seconds")
    allow = tuple(form.get("allow", "").split())
    message = form.get("message", "").strip() or "on"
    return steered.shut(entry, message, int(retry) if retry else None, allow)


def _pause(entry: Entry, form: Form) -> Entry:
    seconds = form["seconds"].strip()
    if not seconds.strip("0"):  # the option's way to say that nothing waits
        raise TableError("for at most: expected 1 second or more")
    return steered.with_option(entry, "pause", seconds)


STEPS: Mapping[str, tuple[Step, str]] = MappingProxyType({
    "drain": (lambda entry, form: steered.drained(entry, form["url"]),
              "is drained: it gets nothing new"),
    "undrain": (lambda entry, form: steered.undrained(entry, form["url"]), "serves again"),
    "weight": (lambda entry, form: steered.weighed(entry, form["url"], form["weight"].strip()),
               "has its new weight"),
    "add": (lambda entry, form: steered.with_backend(entry, form["url"].strip()),
            "is in the list"),
    "remove": (lambda entry, form: steered.without_backend(entry, form["url"]),
               "is out of the list"),
    "shut": (_shut, "is under maintenance"),
    "open": (lambda entry, form: steered.opened(entry), "is open again"),
    "pause": (_pause, "is paused: requests wait"),
    "resume": (lambda entry, form: steered.without_option(entry, "pause"), "goes on"),
    "set": (lambda entry, form: steered.with_option(
        entry, form["name"].strip(), form["value"].strip()), "has its new option"),
    "unset": (lambda entry, form: steered.unset(entry, form["name"]), "has one option less"),
})  # fmt: skip
"""What a form may ask for, and how its subject is then."""
MORE = MappingProxyType({"revive": "serves again", "undo": "is as it was before its last change"})
OF_BACKENDS = frozenset({"drain", "undrain", "weight", "add", "remove", "revive"})
"""Those whose subject is a backend."""


def said(step: str, key: str, url: str) -> str:
    """What a page says when a change is made; empty for what is no change."""
    words = STEPS[step][1] if step in STEPS else MORE.get(step, "")
    return f"{url if step in OF_BACKENDS and url else key} {words}." if words else ""


async def take_step(desk: Desk, key: str, form: Form, by: str) -> None:
    """Change the frontend as the form says. Raises TableError, StoreUnavailable, NotOffered."""
    name = form.get("step", "")
    try:
        if name == "revive":
            await _revive(desk, key, form["url"])
        elif name == "undo":
            await _undo(desk, key, by)
        elif name in STEPS:
            await _change(desk, key, lambda entry: STEPS[name][0](entry, form), by)
        else:
            raise TableError(f"no such change: {name!r}")
    except KeyError as exc:
        raise TableError(f"{exc.args[0]}: expected a value") from None


async def _change(desk: Desk, key: str, step: Callable[[Entry], Entry], by: str) -> None:
    objection = configured(desk.config).objection

    def edit(table: Table) -> Table:
        entry = existing(table, key)
        if entry is None:
            raise TableError(f"no frontend {key}")
        after = step(entry)
        check_change(key, after, entry, objection)
        return {key: after}

    async with desk.table() as table:
        table.by = by
        await table.change([key], edit)


async def _undo(desk: Desk, key: str, by: str) -> None:
    async with desk.table() as table:
        table.by = by
        found = [each for each in await table.journal(key, SEARCHED) if each.key == key]

        def edit(now: Table) -> Table:
            before = undone(found[0] if found else None, key, existing(now, key))
            return {} if before is None else {key: before}

        await table.change([key], edit)


async def _revive(desk: Desk, key: str, url: str) -> None:
    routes = desk.sources.routes
    frontend = (await routes.find_host(key)).frontend
    for backend in frontend.backends:
        if trimmed(backend.url) == trimmed(url):
            routes.clear_mark(frontend, backend)
            return
    raise TableError(f"{url!r} is none of the backends of {key}")
