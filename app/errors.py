"""The exception tree. A class exists where some code treats it differently.

    HipacheError
    ├── ConfigError              exit status 78, one line
    └── ProxyError               a request the proxy answers itself, with `status`
        ├── BadHost              400
        ├── FrontendNotFound     400
        ├── StoreUnavailable     503
        ├── NoLiveBackend        502
        ├── InvalidBackend       502
        ├── RequestBodyMismatch  400
        ├── Unauthorized         401
        ├── Forbidden            403
        ├── TooManyRequests      429
        ├── Overloaded           503
        ├── AccessUnreadable     500
        ├── AccessUnknown        503
        ├── LoopDetected         508
        ├── PassedOn             the answer of an authorization service, as it is
        └── UpstreamError        502, an attempt at a backend failed
            ├── UpstreamUnreachable      no connection was made: no byte was sent
            │   ├── BackendForbidden         502, where the proxy never connects
            │   │   └── BackendIsUs          508
            │   ├── UpstreamConnectTimeout   504
            │   ├── UpstreamTLSFailure       502
            │   ├── UpstreamExhausted        503, this machine has no file or port left
            │   └── UpstreamUnresolved       503, this machine's resolver does not answer
            ├── UpstreamBusy             503, no free connection within queueTimeout
            ├── UpstreamStale            502, a kept connection was closed before an answer
            ├── UpstreamReset            502, closed after the request, before the head
            ├── UpstreamTimeout          504, no head, or no progress, in time
            ├── UpstreamBadAnswer        502, what came is not HTTP we may pass on
            └── UpstreamCut              502, the answer's body ended early

The messages are Hipache's where it had one (lib/worker.js, hipache 0.3.1):
they go to the error page, the log and `x-debug-error`.
"""

from __future__ import annotations

from math import ceil

EX_CONFIG = 78
"""sysexits.h: the configuration is wrong; starting again will not help."""


class HipacheError(Exception):
    """Everything this project raises on purpose."""


class ConfigError(HipacheError):
    """The configuration cannot be used; the text names file, key and remedy in one line."""


class ProxyError(HipacheError):
    """A request the proxy answers itself, with `status` and this text."""

    status = 500
    message = "internal error"
    retry_after: int | None = None
    """Seconds for the `Retry-After` field, where waiting helps."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """More fields of our answer."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class BadHost(ProxyError):
    """No `Host`, or one that names no host (RFC 9112 §3.2)."""

    status = 400
    message = "no host header"


class FrontendNotFound(ProxyError):
    """No candidate key of this host has a list in the store."""

    status = 400
    message = "frontend not found"


class StoreUnavailable(ProxyError):
    """The store does not answer and nothing is remembered about this host."""

    status = 503
    message = "the route store is unavailable"
    retry_after = 5


class NoLiveBackend(ProxyError):
    """The list has an identifier only, or every backend is dead or was tried."""

    status = 502
    message = "Cannot find a valid backend"


class InvalidBackend(ProxyError):
    """The list has backends, but none of them is a URL we can connect to."""

    status = 502
    message = "backend is invalid"


class RequestBodyMismatch(ProxyError):
    """The client's body is longer or shorter than its Content-Length: no backend's fault."""

    status = 400
    message = "the request body does not match its length"


class Unauthorized(ProxyError):
    """No user and password, or wrong ones (RFC 9110 §11.6.1)."""

    status = 401
    message = "authentication required"

    def __init__(self, realm: str) -> None:
        super().__init__()
        name = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in realm)
        challenge = f'Basic realm="{name}", charset="UTF-8"'
        self.fields = ((b"www-authenticate", challenge.encode("ascii")),)


class Forbidden(ProxyError):
    """The frontend does not allow this client's address."""

    status = 403
    message = "access from this address is not allowed"


class TooManyRequests(ProxyError):
    """The client sends more requests than the frontend's `rateLimit` allows."""

    status = 429
    message = "too many requests"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.retry_after = max(1, ceil(seconds))


class Overloaded(ProxyError):
    """This frontend or this worker has as many requests in flight as it accepts."""

    status = 503
    message = "the proxy is overloaded"
    retry_after = 1


class AccessUnreadable(ProxyError):
    """An access option of the frontend is invalid, so every request is refused."""

    status = 500
    message = "this site's access rules are invalid; access is denied"


class AccessUnknown(ProxyError):
    """The service that `forwardAuth` names gave no usable answer."""

    status = 503
    message = "the authorization service is not available"
    retry_after = 5


class LoopDetected(ProxyError):
    """The request has passed through this proxy more than once before."""

    status = 508
    message = "request loop detected"


class PassedOn(ProxyError):
    """The answer of the service that `forwardAuth` names, passed on to the client."""

    def __init__(
        self, status: int, fields: tuple[tuple[bytes, bytes], ...], body: bytes, message: str
    ) -> None:
        super().__init__(message)
        self.status, self.fields, self.body = status, fields, body


class UpstreamError(ProxyError):
    """An attempt at a backend failed.

    `request_sent` tells whether a byte of the request may have reached the
    backend: only then can it have acted on it. `answer_begun` tells whether a
    byte of an answer came: then it has.
    """

    status = 502
    message = "the backend failed"
    request_sent = True
    answer_begun = False

    def __init__(
        self,
        message: str | None = None,
        *,
        request_sent: bool | None = None,
        answer_begun: bool | None = None,
    ) -> None:
        super().__init__(message)
        if request_sent is not None:
            self.request_sent = request_sent
        if answer_begun is not None:
            self.answer_begun = answer_begun


class UpstreamUnreachable(UpstreamError):
    """No connection was made, so no byte was sent: safe to retry."""

    message = "cannot connect to the backend"
    request_sent = False


class BackendForbidden(UpstreamUnreachable):
    """The proxy must not connect to this address, and did not try to."""

    message = "the proxy does not connect to this backend"


class BackendIsUs(BackendForbidden):
    """The backend's URL names a listener of this proxy."""

    status = 508
    message = "the backend is this proxy itself"


class UpstreamConnectTimeout(UpstreamUnreachable):
    """No connection within `server.connectTimeout`."""

    status = 504
    message = "connecting to the backend timed out"


class UpstreamTLSFailure(UpstreamUnreachable):
    """The TLS handshake with the backend failed or its certificate is not trusted."""

    message = "TLS with the backend failed"


class UpstreamExhausted(UpstreamUnreachable):
    """This machine has no file descriptor, port or memory left for another connection."""

    status = 503
    message = "the proxy cannot open another connection"
    retry_after = 1


class UpstreamUnresolved(UpstreamUnreachable):
    """The resolver failed for now, or did not answer in time."""

    status = 503
    message = "the backend's name could not be resolved"
    retry_after = 1


class UpstreamBusy(UpstreamError):
    """`server.maxSockets` connections were in use for all of `server.queueTimeout`."""

    status = 503
    message = "the backend is busy"
    request_sent = False
    retry_after = 1


class UpstreamStale(UpstreamError):
    """A kept connection turned out closed before a byte of the answer came."""

    message = "the backend closed a kept connection"


class UpstreamReset(UpstreamError):
    """The backend closed a fresh connection without an answer."""

    message = "the backend closed the connection without an answer"


class UpstreamTimeout(UpstreamError):
    """The head took longer than `responseTimeout`, or nothing moved for `tcpTimeout`."""

    status = 504
    message = "the backend did not answer in time"


class UpstreamBadAnswer(UpstreamError):
    """The answer breaks RFC 9112 in a way that must not be passed on."""

    message = "the backend's answer is not valid HTTP"
    answer_begun = True


class UpstreamCut(UpstreamError):
    """The answer's body ended before its announced end: the client must see a cut too."""

    message = "the backend's answer was cut short"
    answer_begun = True
