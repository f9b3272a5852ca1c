"""The loads, by name, in the order of the tables."""

from __future__ import annotations

from dataclasses import dataclass

from bench.compare.sites import HOSTS, LARGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpScenario:
    """A load that wrk makes with one thread."""

    name: str
    title: str
    path: str = "/small"
    method: str = "GET"
    body: int = 0
    """Bytes of each request's body."""
    connections: int = 64
    """Concurrent clients; each waits for its answer before it asks again."""
    hosts: int = 1
    """Virtual hosts, asked in rotation."""
    keep_alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoScenario:
    """A load of WebSocket messages that come back."""

    name: str
    title: str
    size: int
    """Bytes of each message."""
    connections: int = 32
    in_flight: int = 4
    """Messages of each connection that are on their way at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Scenario:
    """A load that h2load makes with one thread, over HTTP/2 without TLS."""

    name: str
    title: str
    path: str = "/small"
    method: str = "GET"
    body: int = 0
    """Bytes of each request's body."""
    connections: int = 16
    streams: int = 10
    """Requests that each connection has under way."""
    hosts: int = 1


Scenario = HttpScenario | Http2Scenario | EchoScenario

ALL: tuple[Scenario, ...] = (
    HttpScenario(name="small_get", title="Small GET, 64 clients, keep-alive"),
    HttpScenario(
        name="hosts_1000", title="Small GET, 1,000 virtual hosts in rotation", hosts=len(HOSTS)
    ),
    HttpScenario(name="clients_16", title="Small GET, 16 clients", connections=16),
    HttpScenario(name="clients_256", title="Small GET, 256 clients", connections=256),
    HttpScenario(name="new_connection", title="Small GET, a new connection each", keep_alive=False),
    HttpScenario(name="post_10k", title="POST of 10 KB", path="/upload", method="POST", body=10240),
    HttpScenario(name="download", title="Download of 1 MiB", path="/large", connections=16),
    HttpScenario(
        name="upload",
        title="Upload of 1 MiB",
        path="/upload",
        method="POST",
        body=LARGE_BYTES,
        connections=16,
    ),
    Http2Scenario(name="http2_16x10", title="HTTP/2, small GET, 16 connections of 10 streams"),
    Http2Scenario(
        name="http2_64x1",
        title="HTTP/2, small GET, 64 connections of 1 stream",
        connections=64,
        streams=1,
    ),
    Http2Scenario(
        name="http2_download",
        title="HTTP/2, download of 1 MiB, 16 streams",
        path="/large",
        connections=4,
        streams=4,
    ),
    Http2Scenario(
        name="http2_upload",
        title="HTTP/2, upload of 1 MiB, 16 streams",
        path="/upload",
        method="POST",
        body=LARGE_BYTES,
        connections=4,
        streams=4,
    ),
    EchoScenario(
        name="echo_small", title="WebSocket, 64-byte echo, 4 in flight on each of 32", size=64
    ),
    EchoScenario(
        name="echo_large",
        title="WebSocket, 1 MiB echo, 1 in flight on each of 8",
        size=LARGE_BYTES,
        connections=8,
        in_flight=1,
    ),
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
