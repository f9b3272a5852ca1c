"""The responses of the proxy's own: error pages, redirects, answers on its own paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ..errors import HookFailed, PassedOn, ProxyError
from ..fields.headers import RawHeaders, field
from ..grpc.own_answers import status_of_error, status_of_http, trailers_only
from ..grpc.statuses import grpc_type
from .decision import OwnAnswer, Redirect
from .error_pages import ErrorPages, public_message
from .observers import Observers, observer_failed
from .request import Request

OwnResponse = tuple[int, RawHeaders, bytes]
"""Status, fields and body."""
OnError: TypeAlias = Callable[[Request, ProxyError], Awaitable[ProxyError]]
"""What is answered in place of an error; the same error where nothing is."""


class OwnResponses:
    """Makes them for one worker."""

    def __init__(
        self,
        pages: ErrorPages,
        id_field: bytes | None,
        observers: Observers,
        on_error: OnError | None = None,
    ) -> None:
        """`id_field` is the field of answers that tells the request's id, if any does."""
        self._on_error = on_error
        self._pages = pages
        self._id_field = id_field
        self._observers = observers

    async def of_error(self, request: Request, error: ProxyError) -> OwnResponse:
        """The response to a request that failed."""
        if self._on_error is not None:
            error = await self._on_error(request, error)
        return await self.of(request, error)

    async def of(self, request: Request, what: ProxyError | Redirect | OwnAnswer) -> OwnResponse:
        """The response to `request`, also written into its record.

        A call of gRPC gets a status of its own, with 200; the record has the HTTP status.
        """
        record = request.record
        status = record.status = what.status
        if isinstance(what, ProxyError):
            record.error = str(what)
        if not isinstance(what, OwnAnswer) and (kind := grpc_type(request.headers)) is not None:
            status, headers, body = 200, _of_call(request, kind, what), b""
        elif isinstance(what, ProxyError):
            headers, body = self._page(request, what)
        else:
            headers, body = of_decision(what)
        if self._id_field is not None:
            headers.append((self._id_field, record.request_id.encode("latin-1")))
        try:
            await self._observers.tell_head(request, None, status, headers)
        except HookFailed as failure:
            return await self.of(request, failure)
        if record.status >= 500 and not (isinstance(what, ProxyError) and what.planned):
            for tell_failed in self._observers.failed:
                try:
                    tell_failed(request)
                except Exception:
                    observer_failed(tell_failed)
        if request.method == b"HEAD":
            body = b""
        record.bytes_out = len(body)
        return status, headers, body

    def _page(self, request: Request, error: ProxyError) -> tuple[RawHeaders, bytes]:
        if isinstance(error, PassedOn):
            return list(error.fields), error.body
        accept = field(request.headers, b"accept") or b""
        headers, body = self._pages.render(
            error, accept=accept, request_id=request.record.request_id,
            host=request.host.decode("latin-1"),
        )  # fmt: skip
        exchange = request.exchange
        if error.status == 503 and exchange is not None and not exchange.body_complete:
            headers.append((b"connection", b"close"))  # too busy to wait for the rest of a body
        return headers, body


def _of_call(request: Request, kind: bytes, what: ProxyError | Redirect) -> RawHeaders:
    """Fields that answer a call of gRPC, whose clients follow no redirect and show no page."""
    record = request.record
    if isinstance(what, ProxyError):
        code = status_of_error(what)
        message = public_message(what, request.host.decode("latin-1"))
    else:
        code = status_of_http(what.status)
        message = f"this is at {what.location.decode('latin-1')}"
    record.grpc_status = code
    return trailers_only(kind, code, f"{message} (request id: {record.request_id})")


def of_decision(what: Redirect | OwnAnswer) -> tuple[RawHeaders, bytes]:
    """Fields and body of what the proxy has decided to answer."""
    if isinstance(what, Redirect):
        return [(b"location", what.location), (b"content-length", b"0")], b""
    if what.status in (204, 304):  # they have no body, and no length of one
        return list(what.fields), b""
    length = b"%d" % len(what.body)
    written = [(b"content-type", what.content_type), (b"content-length", length)]
    return [*written, *what.fields], what.body
