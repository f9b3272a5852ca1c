"""`/api/routes`: shows the routes in the store, and changes them where `admin.write` is on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ..config.structs import Config
from ..errors import ConfigError, StoreUnavailable
from ..stores import driver_of
from ..stores.driver import NotOffered
from ..stores.journal import shown_as_json
from ..stores.key_pattern import KeyPattern
from ..stores.table import (
    Entry,
    TableError,
    check_key,
    existing,
    in_file_form,
    without_secrets,
)
from ..stores.table_pieces import first_keys
from ..stores.tables import ChangedButNotSeen, RouteTable, seen_by_all
from ..upstream.destinations import configured
from .route_edits import (
    Condition,
    RouteEdit,
    RouteRefusal,
    etag,
    merging,
    parse_body,
    removing,
    replacing,
)

ROUTES, JOURNAL = "/api/routes", "/api/journal"
MAX_BODY = 1_048_576
"""Bytes of one frontend: the longest list with its options fits."""
PAGE, MAX_PAGE = 100, 1_000
"""Frontends in one answer."""
WAIT = 10.0
"""Seconds that `wait=1` waits for the workers."""
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
"""A web page of somebody else cannot send these: its browser would ask us first, in vain."""


class RouteApi:
    """Answers requests. Each opens the store by itself."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._may_write = config.admin.write

    async def all(self, request: Request) -> Response:
        """A page of frontends, in the order of their keys."""
        return await _answered(self._page(request))

    async def one(self, request: Request) -> Response:
        """One frontend: shown, replaced, changed or removed."""
        if request.method in ("GET", "HEAD"):
            return await _answered(self._show(request))
        return await _answered(self._change(request))

    async def journal(self, request: Request) -> Response:
        """The last changes, of one frontend and its prefixes or of all, the newest first."""
        return await _answered(self._journal(request))

    async def _journal(self, request: Request) -> Response:
        query = _query(request, "frontend", "limit")
        limit, key = _limit(query.get("limit", str(PAGE))), query.get("frontend")
        if key is not None:
            key = _checked(key, "query frontend")
        async with opened_table(self._config) as table:
            changes = await table.journal(key, limit)
        return JSONResponse([shown_as_json(change) for change in changes])

    async def _page(self, request: Request) -> Response:
        query = _query(request, "prefix", "after", "limit")
        start, after = query.get("prefix", ""), query.get("after", "")
        limit = _limit(query.get("limit", str(PAGE)))
        async with opened_table(self._config) as table:
            wanted = KeyPattern.beginning(start)
            chosen, _ = await first_keys(table, wanted, limit + 1, after=after)
            found = await table.read(chosen[:limit])
        routes = {
            key: self._form(entry)
            for key in chosen[:limit]
            if (entry := existing(found, key)) is not None
        }
        following = chosen[limit - 1] if len(chosen) > limit else None
        return JSONResponse({"routes": routes, "next": following})

    async def _show(self, request: Request) -> Response:
        key = _key(request)
        _query(request)
        async with opened_table(self._config) as table:
            entry = existing(await table.read([key]), key)
        if entry is None:
            raise RouteRefusal(404, "path", f"no frontend {key}")
        if _condition(request).is_known(entry):
            return Response(status_code=304, headers={"etag": etag(entry)})
        return self._shown(entry)

    async def _change(self, request: Request) -> Response:
        if not self._may_write:
            raise RouteRefusal(403, "method", "admin.write is false: routes can only be read here")
        key = _key(request)
        wait = _query(request, "wait").get("wait", "0")
        if wait not in ("0", "1"):
            raise RouteRefusal(400, "query wait", "expected wait=1")
        change = await _change_of(request)
        edit = RouteEdit(key, change, _condition(request), configured(self._config).objection)
        async with opened_table(self._config) as table:
            table.by = f"admin token from {request.client.host if request.client else 'unix:'}"
            if wait == "1":
                await seen_by_all(table, lambda: table.change([key], edit), WAIT)
            else:
                await table.change([key], edit)
        if request.method == "DELETE":
            return Response(status_code=204)
        assert edit.after is not None
        return self._shown(edit.after, 201 if edit.before is None else 200)

    def _shown(self, entry: Entry, status: int = 200) -> Response:
        headers = {"etag": etag(entry), "cache-control": "no-cache"}
        return JSONResponse(self._form(entry), status, headers)

    def _form(self, entry: Entry) -> Mapping[str, object]:
        if not self._may_write:  # then even one without the token may be reading
            entry = replace(entry, options=without_secrets(entry.options))
        return in_file_form(entry)


@asynccontextmanager
async def opened_table(config: Config) -> AsyncIterator[RouteTable]:
    """The table of the configured store, for one piece of work.

    Raises ConfigError, StoreUnavailable, NotOffered.
    """
    # In a thread: it may have to wait for a server of our own.
    table = await asyncio.to_thread(driver_of(config).table)
    try:
        yield table
    finally:
        await table.aclose()


async def _answered(work: Awaitable[Response]) -> Response:
    """The answer, or what went wrong as JSON."""
    try:
        return await work
    except RouteRefusal as exc:
        return _problem(exc.status, exc.where, str(exc))
    except ChangedButNotSeen as exc:
        return _problem(504, "query wait", str(exc))
    except TableError as exc:
        return _problem(422, "body", str(exc))
    except NotOffered as exc:
        return _problem(501, "store", str(exc))
    except (StoreUnavailable, ConfigError) as exc:
        return _problem(503, "store", str(exc))


def _problem(status: int, where: str, text: str) -> Response:
    return JSONResponse({"error": text, "where": where}, status)


def _key(request: Request) -> str:
    """The host of the path without its percent-encoding, and the prefix as it came."""
    raw = request.scope["raw_path"].decode("ascii").removeprefix(f"{ROUTES}/")
    host, slash, prefix = raw.partition("/")
    return _checked(unquote(host) + slash + prefix, "path")


def _checked(key: str, where: str) -> str:
    try:
        return check_key(key)
    except TableError as exc:
        raise RouteRefusal(400, where, str(exc)) from None


def _query(request: Request, *names: str) -> dict[str, str]:
    for name in request.query_params:
        if name not in names:
            expected = f"; expected {', '.join(names)}" if names else ""
            raise RouteRefusal(400, f"query {name}", f"unknown{expected}")
    return dict(request.query_params)


def _limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 0 < int(text) <= MAX_PAGE:
        raise RouteRefusal(400, "query limit", f"expected a number up to {MAX_PAGE}")
    return int(text)


def _condition(request: Request) -> Condition:
    return Condition(request.headers.get("if-match"), request.headers.get("if-none-match"))


async def _change_of(request: Request) -> Callable[[str, Entry | None], Entry | None]:
    if request.method == "DELETE":
        return removing
    kinds = (JSON,) if request.method == "PUT" else (MERGE_PATCH, JSON)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise RouteRefusal(415, "header Content-Type", f"expected {' or '.join(kinds)}")
    body = parse_body(await body_of(request))
    return replacing(body) if request.method == "PUT" else merging(body)


async def body_of(request: Request) -> bytes:
    """The body of a request. Raises RouteRefusal where it is too long or ends early."""
    found = bytearray()
    try:
        async for piece in request.stream():
            found += piece
            if len(found) > MAX_BODY:
                raise RouteRefusal(413, "body", f"expected at most {MAX_BODY} bytes")
    except ClientDisconnect:
        raise RouteRefusal(400, "body", "it ended early") from None
    return bytes(found)
