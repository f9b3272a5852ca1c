"""A collector that takes OpenTelemetry's spans over HTTP, on a real socket of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.backends import ScriptedBackend, answer, answering

TAKEN = answer(b"", b"Content-Type: application/x-protobuf")


@dataclass(frozen=True)
class Told:
    """A span as the collector got it; ids in hex."""

    kind: str
    """`SERVER` or `CLIENT`."""
    name: str
    trace: str
    id: str
    parent: str
    """Empty for a span without."""
    values: dict[str, Any]
    failed: bool
    description: str
    links: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def traceparent(self) -> bytes:
        """What a backend gets that is called within it; the last digit may be more than 1."""
        return f"00-{self.trace}-{self.id}-0".encode()


class Collector:
    """What has arrived."""

    def __init__(self, endpoint: ScriptedBackend) -> None:
        self.endpoint = endpoint

    @property
    def resources(self) -> list[dict[str, Any]]:
        """Attributes of whoever sent each batch."""
        return [_values(r.resource.attributes) for r in self._batches()]

    @property
    def spans(self) -> list[Told]:
        """In the order in which they ended."""
        return [
            _told(span)
            for batch in self._batches()
            for scope in batch.scope_spans
            for span in scope.spans
        ]

    async def took(self, count: int) -> list[Told]:
        """All spans, once there are so many."""
        await self.endpoint.until(lambda _: len(self.spans) >= count)
        assert len(self.spans) == count, self.spans
        return self.spans

    async def took_one(self) -> tuple[Told, Told]:
        """The server span and the client span of one plain request."""
        client, server = await self.took(2)
        assert (server.kind, client.kind) == ("SERVER", "CLIENT")
        return server, client

    def _batches(self) -> list[Any]:
        found = []
        for request in self.endpoint.requests:
            assert request.line == (b"POST", b"/v1/traces")
            found += ExportTraceServiceRequest.FromString(request.body).resource_spans
        return found


@asynccontextmanager
async def collecting(
    monkeypatch: pytest.MonkeyPatch, *, delay: int = 20, **environ: str
) -> AsyncIterator[Collector]:
    """A collector that OpenTelemetry's variables name; batches wait for `delay` ms."""
    async with answering(TAKEN) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", str(delay))
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield Collector(endpoint)


def _told(span: Span) -> Told:
    return Told(
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        values=_values(span.attributes),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        description=span.status.message,
        links=[f"{link.trace_id.hex()}-{link.span_id.hex()}" for link in span.links],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}
