"""The one place that configures a uvicorn server: before it starts, or from inside it.

`hipache serve` builds its server from `uvicorn_config`. A bare
`uvicorn app:create_app --factory` has uvicorn's defaults, so at start-up the
application calls `configure`, which finds its server and sets the same options.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from .edge import Edge
from .protocols import ProtocolFactory

logger = logging.getLogger(__name__)


def running_server() -> uvicorn.Server | None:
    """The uvicorn server that runs in this process, None under any other server.

    uvicorn's signal handlers are methods of the server (uvicorn/server.py,
    capture_signals), and the lifespan runs after they are set.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        owner = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(owner, uvicorn.Server):
            return owner
    return None


def configure(edge: Edge, server: uvicorn.Server | None = None) -> uvicorn.Server | None:
    """Put our protocols in place in the running server; call it while the lifespan starts.

    The server does not listen yet, so no connection has seen its defaults. Returns the
    server, or None, after one warning, if there is none to configure.
    """
    server = server or running_server()
    if server is None:
        logger.warning(
            "not run by uvicorn in its main thread: limits, timeouts and strictness at the "
            "client's side are the server's own; start with 'hipache serve' or 'uvicorn'"
        )
        return None
    config = server.config
    edge.stopping = lambda: server.should_exit
    # uvicorn wants a class and only ever calls it.
    config.http_protocol_class = ProtocolFactory(edge)  # type: ignore[assignment]
    config.server_header = config.date_header = False
    config.encoded_headers = [
        field for field in config.encoded_headers if field[0].lower() != b"server"
    ]
    server.server_state.default_headers = []
    config.access_log = False
    access_logger = logging.getLogger("uvicorn.access")
    access_logger.handlers.clear()
    access_logger.propagate = False
    if isinstance(config.loaded_app, ProxyHeadersMiddleware):
        # It would take `client` and `scheme` from fields that anybody can send.
        config.loaded_app = config.loaded_app.app
    return server


def listening(server: uvicorn.Server | None) -> list[tuple[int, object]]:
    """Family and name of every socket on which `server` accepts connections now."""
    found = []
    for listener in getattr(server, "servers", ()):
        for sock in listener.sockets:
            found.append((int(sock.family), sock.getsockname()))
    return found


def edge_of(server: uvicorn.Server) -> Edge | None:
    """The edge that `configure` or `uvicorn_config` put in place, None if neither did."""
    make: object = server.config.http_protocol_class
    return make.edge if isinstance(make, ProtocolFactory) else None


@runtime_checkable
class Supervised(Protocol):
    """A server whose supervisor can start a successor before this one drains."""

    def ask_for_recycling(self, why: str) -> None: ...


def way_to_recycle(
    server: uvicorn.Server | None, *, grace: float, exit_alone: bool
) -> Callable[[str], None] | None:
    """What gives the process of `server` a successor; None if nothing would start one.

    `uvicorn --workers N` starts a worker when another has ended. So the worker drains
    by itself, within `grace` seconds (0: without a limit).
    """
    if isinstance(server, Supervised):
        return server.ask_for_recycling
    if server is None or not (server.config.workers > 1 or exit_alone):
        return None

    def drain(why: str) -> None:
        logger.info("worker draining why=%s", why)
        server.config.timeout_graceful_shutdown = grace or None  # type: ignore[assignment]
        server.should_exit = True

    return drain


def uvicorn_config(
    app: str | Callable[..., Any], edge: Edge | None = None, **options: Any
) -> uvicorn.Config:
    """A uvicorn configuration that adds no fields and believes none.

    `options` are uvicorn's (`host`, `port`, `fd`, `factory`, ...). With `edge` our
    protocols are in place at once; else the application's `configure` does that.
    """
    if edge is not None:
        options["http"] = ProtocolFactory(edge)
    return uvicorn.Config(
        app,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        access_log=False,
        workers=1,  # else it reads WEB_CONCURRENCY, and an empty value ends the worker
        **options,
    )
