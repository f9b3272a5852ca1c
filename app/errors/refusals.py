"""Requests that the proxy answers itself before it asks a backend."""

from __future__ import annotations

from math import ceil

from .roots import ProxyError


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


class UnderMaintenance(ProxyError):
    """The frontend's owner has shut it for a while."""

    status = 503
    message = "under maintenance"
    planned = True

    def __init__(self, message: str, seconds: int) -> None:
        """`message` is what the owner tells visitors; in the log it is always the same."""
        super().__init__()
        self.message = message
        self.retry_after = seconds


class StillWaking(ProxyError):
    """No backend lives, and somebody was told to start one. A browser asks again by itself."""

    status = 503
    message = "this site is starting"
    retry_after = 2
    planned = True


class NotAwake(ProxyError):
    """Somebody was told to start a backend, and none came in time."""

    status = 503
    message = "this site did not start in time"
    retry_after = 10


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

    def __init__(self, reason: str, option: str = "") -> None:
        """Any client may read the name of `option`, but not the reason: that quotes the store."""
        super().__init__(reason)
        if option:
            self.message = (
                f"this site's access rules are invalid (option {option}); access is denied"
            )


class AccessUnknown(ProxyError):
    """The service that `forwardAuth` names gave no usable answer."""

    status = 503
    message = "the authorization service is not available"
    retry_after = 5


class HookFailed(ProxyError):
    """A hook of `server.hooks` raised an exception, or returned what it may not."""

    status = 500
    message = "a hook of this proxy failed"


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
