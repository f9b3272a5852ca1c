"""What the proxy records of one request, for the access log and the counters. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class HeadRecord:
    """What is recorded of a request's head, without its target, and of who sent it.

    All requests that repeat a head between the same ends share it. Nobody changes it once a
    request has ended.
    """

    client: str = ""
    """The client's address, by the rule of the trusted proxies."""
    method: str = ""
    http_version: str = "1.1"
    host: str = ""
    referer: bytes = b""
    user_agent: bytes = b""
    scheme: str = "http"
    tls: str = ""
    """The version, `TLSv1.3`."""
    worker: int = 0
    texts: tuple[object, ...] = (None,)
    """The parts of log lines that follow from it, behind the format that has made them."""


UNREAD = HeadRecord()
"""Of a head that nobody has recorded yet."""


@dataclass(slots=True)
class AccessRecord:
    """One request and its outcome. Durations are seconds; None or empty means there was none.

    Create it with `AccessRecord(start)` and set the rest as it becomes known: that
    costs a third of what fifteen keyword arguments cost.
    """

    start: float
    """Unix seconds."""
    head: HeadRecord = UNREAD
    target: bytes = b""
    """Path and query as they came."""
    request_id: str = ""

    frontend: str = ""
    """The key that matched."""
    identifier: str = ""
    """Its first row, Hipache's virtual host."""
    backend: str = ""
    """The URL of the last attempt's backend."""
    attempts: int = 0
    retried_from: tuple[str, ...] = ()
    """The URLs of the backends that failed before."""

    status: int = 0
    bytes_in: int = 0
    """Of the request's body."""
    bytes_out: int = 0
    """Of the answer's body, as far as it was sent."""
    connect_time: float | None = None
    """None if the connection existed already."""
    head_time: float | None = None
    """Until the head of the backend's answer."""
    total_time: float = 0.0
    error: str = ""
    """Why the request failed or its answer was cut."""

    grpc_status: int | None = None
    """How a call of gRPC ended; None if this was none, or if nothing tells."""

    messages_in: int | None = None
    """A WebSocket's messages from the client; None if this was none."""
    messages_out: int | None = None
    close_code: int | None = None
    closed_by: str = ""
    """`client`, `backend` or `proxy`."""

    def set_failure(self, status: int, cause: str) -> None:
        """Note that the request did not complete; a status or an error noted before stays."""
        self.status = self.status or status
        self.error = self.error or cause
