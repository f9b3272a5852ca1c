"""OpenTelemetry's spans: one for each request, and one below it for each attempt at a backend.

Imported only where `server.tracing` is on (app.proxy.tracing), so that without it
neither the packages of the extra `otel` are needed nor a request asks whether
it is traced: Gateway and Attempts themselves know nothing of this.

Names are those of OpenTelemetry's semantic conventions for HTTP, the stable ones.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..errors import UpstreamError
from ..fields.headers import RawHeaders, field
from ..health import Outcome, outcome_of
from ..routing import Backend, Route
from .attempts import Attempt, Attempts
from .gateway import CLIENT_LEFT, Gateway
from .request import Request

Attributes = dict[str, str | int]

PROPAGATED = frozenset({b"traceparent", b"tracestate"})
"""Fields of W3C Trace Context; `baggage` is the client's and the backend's business."""
METHODS = frozenset({
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
})  # fmt: skip
"""Those that the conventions know; the name of a span is one of few."""
CANCELLED = "cancelled"

_SECRET = re.compile(r"\b(AWSAccessKeyId|Signature|sig|X-Goog-Signature)=[^&]*")
_AUTHORITY = re.compile(r"\[?([^\[\]]*?)\]?(?::(\d{1,5}))?")

_w3c = TraceContextTextMapPropagator()


class TracedGateway(Gateway):
    """Begins and ends the span of each request."""

    def __init__(self, tracer: Tracer, **parts: Any) -> None:
        """`parts` are those of Gateway."""
        super().__init__(attempts=partial(TracedAttempts, tracer), **parts)
        self._tracer = tracer

    def begin(self, request: Request) -> Request:
        super().begin(request)
        came = extracted(request.headers)
        theirs = get_current_span(came).get_span_context()
        followed = theirs.is_valid and self._forwarded.trusts(request.client)
        span = request.span = self._tracer.start_span(
            _name(request),
            came if followed else Context(),
            SpanKind.SERVER,
            self._attributes(request),
            links=[Link(theirs)] if theirs.is_valid and not followed else [],
        )
        if span.is_recording() or not followed:
            # Else nobody has begun anything here, and what came goes on as it is.
            request.headers = _without(request.headers)
            request.ours += injected(span)
        return request

    def end(self, request: Request) -> None:
        super().end(request)
        span, record = request.span, request.record
        if not span.is_recording():
            return
        if record.status and record.status != CLIENT_LEFT:
            span.set_attribute("http.response.status_code", record.status)
        if request.route is not None:
            span.set_attribute("hipache.frontend", request.route.frontend.key)
        if request.client_left:
            span.set_attribute("error.type", str(Outcome.CLIENT_LEFT))
        elif record.status >= 500:
            _failed(span, str(record.status), record.error)
        elif record.error and record.status < 400:
            _failed(span, str(Outcome.CUT), record.error)
        span.end()

    def _attributes(self, request: Request) -> Attributes:
        """What is known at the beginning, when a sampler may want to know it."""
        path, mark, query = request.target.decode("latin-1").partition("?")
        found = _of_request(request) | {
            "url.path": path,
            "url.scheme": request.peer.scheme,
            "client.address": self._forwarded.true_client(request.headers, request.client),
            "network.protocol.version": request.http_version,
            "hipache.request_id": request.record.request_id,
        }
        if mark:
            found["url.query"] = redacted(query)
        if request.client:
            found["network.peer.address"] = request.client
        if authority := _AUTHORITY.fullmatch(request.host.decode("latin-1")):
            found["server.address"] = authority[1]
            if authority[2]:
                found["server.port"] = int(authority[2])
        if agent := field(request.headers, b"user-agent"):
            found["user_agent.original"] = agent.decode("latin-1")
        return found


class TracedAttempts(Attempts):
    """Begins and ends the span of each attempt; the backend is told of it."""

    def __init__(self, tracer: Tracer, *parts: Any, **named: Any) -> None:
        """`parts` and `named` are those of Attempts."""
        super().__init__(*parts, **named)
        self._tracer = tracer

    def begin(self, request: Request, route: Route, tried: tuple[str, ...] = ()) -> Attempt[Any]:
        attempt = super().begin(request, route, tried)
        span = attempt.span = request.span
        if span.is_recording():
            found = _of_request(request) | _of_backend(attempt.backend, request.target)
            if (resent := request.record.attempts - 1) > 0:
                found["http.request.resend_count"] = resent
            attempt.span = self._tracer.start_span(
                _name(request), set_span_in_context(span, Context()), SpanKind.CLIENT, found
            )
            request.fields[:] = _without(request.fields) + injected(attempt.span)
        return attempt

    def answered(
        self, request: Request, attempt: Attempt[Any], status: int, headers: RawHeaders
    ) -> None:
        super().answered(request, attempt, status, headers)
        attempt.span.set_attribute("http.response.status_code", status)
        if status >= 400:
            _failed(attempt.span, str(status))

    def failed(self, attempt: Attempt[Any], error: UpstreamError) -> None:
        _failed(attempt.span, str(outcome_of(error)), str(error))
        super().failed(attempt, error)

    def broke_off(self, attempt: Attempt[Any], error: UpstreamError) -> None:
        _failed(attempt.span, str(outcome_of(error, answer_started=True)), str(error))
        super().broke_off(attempt, error)

    def finished(self, attempt: Attempt[Any]) -> None:
        super().finished(attempt)
        span = attempt.span
        if attempt.seconds_to_head is None and not _has_failed(span):
            span.set_attribute("error.type", CANCELLED)
        span.end()


def extracted(headers: RawHeaders) -> Context:
    """What the fields say of the caller's span; nothing of it where they break the rules."""
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:  # which of them would it be?
        return Context()
    states = [value.decode("latin-1") for name, value in headers if name == b"tracestate"]
    carrier = {"traceparent": [parents[0].decode("latin-1")], "tracestate": states}
    return _w3c.extract(carrier, Context())


def injected(span: Span) -> RawHeaders:
    """The fields that tell a backend of `span`."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span, Context()))
    return [(name.encode(), value.encode("latin-1")) for name, value in carrier.items()]


def redacted(query: str) -> str:
    """A query without the signatures that open what they sign; the conventions name these four.

    >>> redacted("a=1&sig=c2VjcmV0&b=2")
    'a=1&sig=REDACTED&b=2'
    """
    return _SECRET.sub(r"\1=REDACTED", query)


def _without(headers: RawHeaders) -> RawHeaders:
    return [item for item in headers if item[0] not in PROPAGATED]


def _failed(span: Span, kind: str, description: str = "") -> None:
    """`kind` is one of few words, `description` is for people."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, description or None)


def _has_failed(span: Span) -> bool:
    return isinstance(span, ReadableSpan) and not span.status.is_unset


def _name(request: Request) -> str:
    method = request.method.decode("ascii")
    return method if method in METHODS else "HTTP"


def _of_request(request: Request) -> Attributes:
    method = request.method.decode("ascii")
    if method in METHODS:
        return {"http.request.method": method}
    return {"http.request.method": "_OTHER", "http.request.method_original": method}


def _of_backend(backend: Backend, target: bytes) -> Attributes:
    """Whom a request goes to. `url.full` has no password, because `origin` has none."""
    scheme, host, port = backend.origin
    found: Attributes = {"network.protocol.version": "1.1", "server.address": host}
    authority = "localhost"
    if scheme == "unix":
        scheme, found["network.transport"] = "http", "unix"
    else:
        found["server.port"] = port
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    found["url.full"] = f"{scheme}://{authority}{redacted(target.decode('latin-1'))}"
    return found
