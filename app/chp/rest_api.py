"""The API by which a hub reads and writes its routes, as configurable-http-proxy has it."""

from __future__ import annotations

import hmac
import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from ..errors import StoreUnavailable
from ..fields.headers import RawHeaders, field
from ..masking import masked_url
from .hub_numbers import HubNumbers
from .hub_table import HubTable, seconds_of
from .route_keeping import RouteKeeper
from .target_paths import UndecodablePath, decoded, plain_path

logger = logging.getLogger("hipache.chp")

MAX_BODY = 2**20
_PATH = re.compile(rb"/api/routes(/.*)?", re.DOTALL)
_TOKEN = re.compile(rb"token\s+(\S+)")
METHODS = frozenset({"GET", "POST", "DELETE"})


class ApiError(Exception):
    """Answered with a status and a text."""

    def __init__(self, status: int, text: str | None = None) -> None:
        super().__init__(HTTPStatus(status).phrase if text is None else text)
        self.status = status


class RestApi:
    """The ASGI application of the API's listener."""

    def __init__(
        self,
        table: HubTable,
        keeper: RouteKeeper,
        numbers: HubNumbers,
        *,
        token: str | None,
        look: Callable[[], None],
    ) -> None:
        """`look` notes which routes are in use now."""
        self._table = table
        self._keeper = keeper
        self._numbers = numbers
        self._token = token.encode() if token else None
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: RawHeaders = []
        try:
            status, body = await self._answer(scope, receive)
            if body:
                headers.append((b"content-type", b"application/json"))
        except ApiError as error:
            status, body = error.status, str(error).encode()
        except StoreUnavailable as error:
            logger.warning("API request failed method=%s cause=%s", scope["method"], error)
            status, body = error.status, error.message.encode()
        self._numbers.status("requests_api", status)
        if status != 204:
            headers.append((b"content-length", b"%d" % len(body)))
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        found = _PATH.fullmatch(plain_path(scope["raw_path"]))
        if found is None:
            raise ApiError(404)
        method = scope["method"]
        if method not in METHODS:
            raise ApiError(405, "Method not supported")
        if not self._permitted(field(scope["headers"], b"authorization") or b""):
            raise ApiError(403, "")
        try:
            path = decoded(found[1] or b"/")
        except UndecodablePath as error:
            raise ApiError(400, str(error)) from None
        if method == "POST":
            return await self._add(path, await _body(receive))
        if method == "DELETE":
            return await self._remove(path)
        self._look()
        await self._keeper.gather()
        if path != "/":
            return self._one(path)
        return self._all(parse_qs(scope["query_string"].decode("latin-1")))

    def _permitted(self, said: bytes) -> bool:
        if self._token is None:
            return True
        found = _TOKEN.search(said)
        return found is not None and hmac.compare_digest(found[1], self._token)

    async def _add(self, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"Body not valid JSON: {error}") from None
        target = data.get("target") if isinstance(data, dict) else None
        if not isinstance(target, str):
            raise ApiError(400, "Must specify 'target' as string")
        await self._keeper.add(path, data)
        logger.info("route added path=%s target=%s", path, masked_url(target))
        route = self._table.get(path)
        for bad in route.route.frontend.bad_entries if route is not None else ():
            logger.warning("route unusable path=%s cause=%s", path, bad.reason)
        self._numbers.count("api_route_add")
        return 201, b""

    async def _remove(self, path: str) -> tuple[int, bytes]:
        removed = await self._keeper.remove(path)
        if removed:
            logger.info("route removed path=%s", path)
        self._numbers.count("api_route_delete")
        return (204 if removed else 404), b""

    def _one(self, path: str) -> tuple[int, bytes]:
        route = self._table.get(path)
        return (404, b"") if route is None else (200, _json(route.told()))

    def _all(self, query: dict[str, list[str]]) -> tuple[int, bytes]:
        routes = self._table.all()
        since = query.get("inactiveSince") or query.get("inactive_since")
        if since:
            try:
                before = seconds_of(since[0])
            except (ValueError, OverflowError):
                text = f"Invalid datestamp '{since[0]}' must be ISO8601."
                raise ApiError(400, text) from None
            routes = {path: route for path, route in routes.items() if route.last_activity < before}
        self._numbers.count("api_route_get")
        return 200, _json({path: route.told() for path, route in routes.items()})


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise ApiError(413)
        if not message.get("more_body"):
            return body


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
