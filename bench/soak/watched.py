"""`hipache serve` with a window: who connects to `soak.sock` is told what its worker holds.

No middleware and no path of its own: requests go the way that they always go.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from app import cli
from app.application import Endpoint
from app.main import create_app
from app.proxy.gateway import Gateway
from app.proxy.http_proxy import HttpProxy
from app.server.running import edge_of, running_server
from app.workers import serve

SOCKET = "soak.sock"


def look(gateway: Gateway) -> dict[str, Any]:
    """What this process holds, once its garbage is gone."""
    gc.unfreeze()  # else what was there at the last collection would not be seen
    gc.collect()
    things = gc.get_objects()
    tasks = asyncio.all_tasks()
    server = running_server()
    assert server is not None
    edge = edge_of(server)
    assert edge is not None
    assert edge.fast_path is not None, "requests do not go the default way"
    return {
        "in_flight": gateway.in_flight,
        "connections": len(edge.connections),
        "tasks": len(tasks) - 1,  # without the one that asks
        "names": sorted(task.get_name() for task in tasks),
        "objects": len(things),
        "types": Counter(f"{type(each).__module__}.{type(each).__name__}" for each in things),
    }


def watched(*args: Any, **kwargs: Any) -> Starlette:
    app = create_app(*args, **kwargs)
    lifespan = app.router.lifespan_context

    async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint = app.router.default
        assert isinstance(endpoint, Endpoint)
        assert isinstance(endpoint.http, HttpProxy)
        writer.write(json.dumps(look(endpoint.http._gateway)).encode())
        writer.close()

    @asynccontextmanager
    async def with_window(app: Any) -> AsyncIterator[Any]:
        async with lifespan(app) as state, await asyncio.start_unix_server(tell, SOCKET):
            yield state

    app.router.lifespan_context = with_window
    return app


if __name__ == "__main__":
    serve.create_app = watched  # type: ignore[attr-defined]
    sys.exit(cli.main())
