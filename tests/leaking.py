"""The proxy with a leak of 1 MB per request, as a person would start it.

`python -m tests.leaking` is `hipache serve`, `uvicorn tests.leaking:create_leaking_app` the
bare way. A request for the path `/leak` leaks, others do not.
"""

from __future__ import annotations

import sys
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app import cli
from app.main import create_app
from app.workers import serve

LOST: list[bytearray] = []


class Leaking:
    """Middleware such as a user might add."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/leak":
            LOST.append(bytearray(b"x" * (1 << 20)))
        await self.app(scope, receive, send)


def create_leaking_app(*args: Any, **kwargs: Any) -> Starlette:
    app = create_app(*args, **kwargs)
    app.add_middleware(Leaking)
    return app


if __name__ == "__main__":
    serve.create_app = create_leaking_app
    sys.exit(cli.main())
