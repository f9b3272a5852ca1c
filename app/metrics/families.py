"""Every metric: its name, its labels and its meaning; and the layout of the cells of a block."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "hipache_"
OTHER = "other"
"""The label that stands for all frontends that are not shown by name."""

# What a block's name begins with; the parts of a name are separated by NUL.
FRONTEND, BACKEND, COUNTER, HISTOGRAM, GAUGE = "f", "b", "c", "h", "g"

# The cells of a frontend, from 0: requests by status class (0 to 5) and by whether they were safe,
# bytes of bodies, and a histogram: its sum, then one cell for each bucket.
BYTES_IN, BYTES_OUT, DURATION = 12, 13, 14
STATUS_CLASSES = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")
METHOD_CLASSES = ("read", "write")

# The cells of a backend: attempts without an answer, answers that were 5xx or cut, those of both
# that are evidence against it, and a histogram of the time to the head, which has every answer.
UNANSWERED, BAD, EVIDENCE, HEAD = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without prefix, and for a counter without `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


COUNTERS = {
    "attempt_failures": Family(
        "attempt_failures", "Attempts at a backend that failed, by outcome.", ("reason",)
    ),
    "evidence": Family(
        "evidence",
        "Attempts that failed and are evidence against their backend, by outcome.",
        ("reason",),
    ),
    "retries": Family("retries", "Retries, by the outcome of the attempt before.", ("reason",)),
    "marks": Family("backend_marks", "Marks that this proxy set on a backend.", ("reason",)),
    "marks_cleared": Family(
        "backend_marks_cleared", "Marks that an answer of the backend or an active check cleared."
    ),
    "cache_hits": Family("route_cache_hits", "Requests whose route was in memory."),
    "cache_misses": Family("route_cache_misses", "Requests for which the store was asked."),
    "cache_pushes": Family("route_cache_pushes", "Changes that the store reported."),
    "grpc_calls": Family("grpc_calls", "Calls of gRPC that have ended, by status.", ("status",)),
    "web_socket_messages": Family(
        "websocket_messages", "Messages of sessions that have ended, by sender.", ("sender",)
    ),
    "web_socket_closes": Family(
        "websocket_sessions", "Sessions that have ended, by who closed.", ("closed_by",)
    ),
    "tls_handshakes": Family("tls_handshakes", "TLS handshakes with clients that succeeded."),
    "http2_connections": Family("http2_connections", "Connections of clients over HTTP/2."),
    "http2_requests": Family("http2_requests", "Requests over HTTP/2 that were answered."),
    "http2_floods": Family(
        "http2_floods", "Connections over HTTP/2 that were cut: too many frames without use."
    ),
    "wakes": Family(
        "wake_calls", "Calls to wake a frontend without a live backend, by result.", ("result",)
    ),
    "alerts": Family("alerts", "Messages to the receivers of alerts, by result.", ("result",)),
    "recycles": Family(
        "worker_recycles", "Workers that asked to be replaced, by reason.", ("reason",)
    ),
    "refused_connections": Family(
        "refused_connections", "Connections of clients beyond maxConnections."
    ),
    "refused_requests": Family(
        "refused_requests", "Requests refused before they were complete, by status.", ("status",)
    ),
    "exits": Family("worker_exits", "Workers that ended (drained) or died.", ("how",)),
    "log_lines_lost": Family("access_log_lines_lost", "Lines of the access log that were lost."),
}
"""By the name that the code uses for counting."""

HISTOGRAMS = {
    "connect": Family("connect_seconds", "Time to open a new connection to a backend."),
    "queue": Family(
        "queue_wait_seconds", "Time that requests waited for a free connection (maxSockets)."
    ),
}

GAUGES = {
    "in_flight": Family("requests_in_flight", "Requests and WebSockets that have not ended."),
    "connections": Family("client_connections", "Open connections of clients."),
    "web_sockets": Family("websocket_sessions_open", "WebSockets that are open."),
    "queued": Family("queue_length", "Requests that wait for a connection to a backend."),
    "held": Family("held_bytes", "Bytes held of bodies and messages (retryMemory)."),
}
"""Sums over the workers."""

PER_WORKER = {
    "memory": Family("worker_memory_bytes", "Resident memory of a worker.", ("worker",)),
    "lag": Family(
        "worker_loop_lag_seconds",
        "Longest delay of a worker's event loop in the last second.",
        ("worker",),
    ),
    "started": Family(
        "worker_start_time_seconds", "When a worker started, in Unix time.", ("worker",)
    ),
    "contact": Family(
        "store_contact_age_seconds", "Time since the store last answered a worker.", ("worker",)
    ),
}
