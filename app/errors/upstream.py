"""Attempts at a backend that failed. A class exists where some code treats it differently."""

from __future__ import annotations

from .roots import ProxyError


class UpstreamError(ProxyError):
    """An attempt at a backend failed.

    `request_sent`: a byte of the request may have reached the backend, so the
    backend may have acted on it. `answer_begun`: a byte of an answer came, so the
    backend has acted on it.
    """

    status = 502
    message = "the backend failed"
    request_sent = True
    answer_begun = False
    reset_code: int | None = None
    """The error code of RST_STREAM (RFC 9113 §7), where that was the end."""

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


class WebSocketsUnsupported(BackendForbidden):
    """The backend speaks HTTP/2 and nothing else, and takes no WebSockets over it (RFC 8441)."""

    message = "the backend takes no WebSockets over HTTP/2"


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


class UpstreamPreempted(UpstreamError):
    """Others waited, and its client held more than half of the connections to the backend."""

    status = 503
    message = "others waited for the connection to the backend"
    retry_after: int | None = 1


class SlowClient(UpstreamPreempted):
    """Others waited, and its client took or sent nothing for `server.slowClientGrace`."""

    status = 408
    message = "others waited for the connection, and the client took or sent nothing"
    retry_after = None


class UpstreamStale(UpstreamError):
    """A kept connection turned out closed before a byte of the answer came."""

    message = "the backend closed a kept connection"


class UpstreamReset(UpstreamError):
    """The backend closed a fresh connection without an answer."""

    message = "the backend closed the connection without an answer"


class UpstreamRefused(UpstreamError):
    """The backend refused the stream unseen (REFUSED_STREAM): safe to send again."""

    message = "the backend refused the request"
    request_sent = False


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
