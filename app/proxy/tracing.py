"""Turns tracing on for one worker: the SDK's provider lives as long as the worker.

The exporter and its batches are OpenTelemetry's own, set by its environment variables.
They work in a thread, which must begin in the worker: a fork has no threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING

from ..config.structs import Config
from ..errors import ConfigError
from ..fields.forwarded import ForwardedFields
from .observers import Observer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

LAST_BATCH = 5.0
"""Seconds that the last spans of a worker have to reach the collector."""
LAST_SPANS = "last spans"
"""The thread that sends them: it goes on where the collector takes longer."""
NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def check_tracing(config: Config) -> None:
    """Raises ConfigError if `server.tracing` is on and every worker would fail on it."""
    if _wanted(config):
        _provider(config, "", "").shutdown()


@asynccontextmanager
async def tracing(
    config: Config, forwarded: ForwardedFields, name: str, version: str
) -> AsyncIterator[tuple[Observer, ...]]:
    """The observer that makes spans, if `server.tracing` is on.

    `name` is this worker's, `version` the proxy's. Raises ConfigError as `check_tracing`.
    """
    if not _wanted(config):
        yield ()
        return
    provider = _provider(config, name, version)
    try:
        from .tracing_spans import SpanObserver

        yield (SpanObserver(provider.get_tracer("hipache", version), forwarded),)
    finally:
        # A collector that is away may delay the SDK for longer than a worker may take to end.
        last = Thread(target=provider.shutdown, name=LAST_SPANS, daemon=True)
        last.start()
        await asyncio.to_thread(last.join, LAST_BATCH)
        if last.is_alive():
            logger.warning("spans lost, the collector did not take them seconds=%g", LAST_BATCH)


def _wanted(config: Config) -> bool:
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return config.server.tracing and not disabled


def _provider(config: Config, name: str, version: str) -> TracerProvider:
    if not _installed():
        raise ConfigError(
            f"{config.source}: server.tracing: OpenTelemetry is missing: "
            "pip install 'hipache[otel]'"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = {"service.name": "hipache", "service.version": version, "service.instance.id": name}
    resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
    try:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as exc:
        problem = f"a variable $OTEL_… cannot be used: {exc}"
        raise ConfigError(f"{config.source}: server.tracing: {problem}") from exc
    return provider


def _installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in NEEDED)
    except ModuleNotFoundError:
        return False
