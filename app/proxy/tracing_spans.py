"""OpenTelemetry's spans: one for each request, and one below it for each attempt at a backend.

Imported only if `server.tracing` is on (app.proxy.tracing): without it nothing needs the
packages of the extra `otel`, and no request asks whether it is traced.

Names are those of OpenTelemetry's semantic conventions for HTTP, the stable ones.
"""

from __future__ import annotations

import re
from typing import Any

from opentelemetry.context import Context
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

from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders, field
from ..frontends.backends import ALPN, HTTP2, SOCKETS, URL_SCHEMES
from ..health import Outcome, outcome_of
from ..routing import Backend
from .attempt import Attempt
from .gateway import CLIENT_LEFT
from .observers import Observer
from .request import Request

Attributes = dict[str, str | int]

PROPAGATED = frozenset({b"traceparent", b"tracestate"})
"""Fields of W3C Trace Context; `baggage` is the client's and the backend's business."""
METHODS = frozenset({
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
})  # fmt: skip
"""The methods that the conventions know: few names of spans."""
CANCELLED = "cancelled"

_SECRET = re.compile(r"\b(AWSAccessKeyId|Signature|sig|X-Goog-Signature)=[^&]*")
_AUTHORITY = re.compile(r"\[?([^\[\]]*?)\]?(?::(\d{1,5}))?")

_w3c = TraceContextTextMapPropagator()


class SpanObserver(Observer):
    """A span for each request, and one below it for each attempt, which the backend is told of."""

    def __init__(self, tracer: Tracer, forwarded: ForwardedFields) -> None:
        self._tracer = tracer
        self._forwarded = forwarded
        self._requests: dict[Request, Span] = {}
        self._attempts: dict[Attempt[Any], Span] = {}

    def began(self, request: Request) -> None:
        came = extracted(request.headers)
        theirs = get_current_span(came).get_span_context()
        followed = theirs.is_valid and self._forwarded.trusts(request.client)
        span = self._requests[request] = self._tracer.start_span(
            _name(request),
            came if followed else Context(),
            SpanKind.SERVER,
            self._attributes(request),
            links=[Link(theirs)] if theirs.is_valid and not followed else [],
        )
        if span.is_recording() or not followed:
            # Else there is no span of ours, and the caller's fields go on as they are.
            request.headers = _without(request.headers)
            request.ours += tuple(injected(span))

    def attempt_began(self, request: Request, attempt: Attempt[Any]) -> None:
        span = self._requests[request]
        if not span.is_recording():
            return
        found = _of_request(request) | _of_backend(attempt.backend, request.backend_target)
        if (resent := request.record.attempts - 1) > 0:
            found["http.request.resend_count"] = resent
        span = self._attempts[attempt] = self._tracer.start_span(
            _name(request), set_span_in_context(span, Context()), SpanKind.CLIENT, found
        )
        request.fields[:] = _without(request.fields) + injected(span)

    def answered(
        self, request: Request, attempt: Attempt[Any] | None, status: int, headers: RawHeaders
    ) -> None:
        if attempt is None or (span := self._attempts.get(attempt)) is None:
            return
        span.set_attribute("http.response.status_code", status)
        if status >= 400:
            _set_failed(span, str(status))

    def attempt_ended(self, request: Request, attempt: Attempt[Any]) -> None:
        span = self._attempts.pop(attempt, None)
        if span is None:
            return
        if (error := attempt.error) is not None:
            cut = attempt.seconds_to_head is not None
            _set_failed(span, str(outcome_of(error, answer_started=cut)), str(error))
        elif attempt.seconds_to_head is None:
            span.set_attribute("error.type", CANCELLED)
        span.end()

    def ended(self, request: Request) -> None:
        span, record = self._requests.pop(request), request.record
        if not span.is_recording():
            return
        if record.status and record.status != CLIENT_LEFT:
            span.set_attribute("http.response.status_code", record.status)
        if request.route is not None:
            span.set_attribute("hipache.frontend", request.route.frontend.key)
        if request.client_left:
            span.set_attribute("error.type", str(Outcome.CLIENT_LEFT))
        elif record.status >= 500:
            _set_failed(span, str(record.status), record.error)
        elif record.error and record.status < 400:
            _set_failed(span, str(Outcome.CUT), record.error)
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


def extracted(headers: RawHeaders) -> Context:
    """The caller's span as the fields tell it; none if they break the rules."""
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:  # which one would be right?
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


def _set_failed(span: Span, kind: str, description: str = "") -> None:
    """`kind` is one of few words; `description` is for people."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, description or None)


def _name(request: Request) -> str:
    method = request.method.decode("ascii")
    return method if method in METHODS else "HTTP"


def _of_request(request: Request) -> Attributes:
    method = request.method.decode("ascii")
    if method in METHODS:
        return {"http.request.method": method}
    return {"http.request.method": "_OTHER", "http.request.method_original": method}


def _of_backend(backend: Backend, target: bytes) -> Attributes:
    """The backend of a request. `url.full` has no password, because `origin` has none."""
    scheme, host, port = backend.origin
    found: Attributes = {"server.address": host}
    authority = "localhost"
    if scheme != ALPN:  # where the backend chooses
        found["network.protocol.version"] = "2" if scheme in HTTP2 else "1.1"
    if scheme in SOCKETS:
        scheme, found["network.transport"] = "http", "unix"
    else:
        found["server.port"] = port
        scheme = URL_SCHEMES.get(scheme, scheme)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    found["url.full"] = f"{scheme}://{authority}{redacted(target.decode('latin-1'))}"
    return found
