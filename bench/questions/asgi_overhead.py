"""What Starlette costs: the same proxy on it, and as a raw ASGI application beside it.

`python -m bench.questions.asgi_overhead` runs both under a bare uvicorn, in one run, and
prints the difference in CPU per request (`targets.py` says how much it may be).
Beside them it runs the application as it is served: below ASGI where it can be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from app import create_app
from bench.compare.__main__ import main
from bench.compare.proxies import Hipache
from bench.compare.sites import Site


def on_starlette() -> ASGIApp:
    """The application as it is; called through a function of ours, it is served by nothing else."""
    app = create_app()

    async def through_starlette(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return through_starlette


def raw() -> ASGIApp:
    """The application's endpoint, called by the server; Starlette only starts and stops it."""
    app = create_app()
    endpoint = app.router.default

    async def without_starlette(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "lifespan" else endpoint)(scope, receive, send)

    return without_starlette


@dataclass
class UnderUvicorn(Hipache):
    """Hipache as an ASGI application under plain uvicorn."""

    factory: str = "app:create_app"

    def command(self, site: Site) -> list[str]:
        return [
            sys.executable, "-m", "uvicorn", self.factory, "--factory", "--port", str(site.port),
            "--no-access-log",
        ]  # fmt: skip


BELOW_ASGI = UnderUvicorn("below-asgi")
ON_STARLETTE = UnderUvicorn("on-starlette", factory="bench.questions.asgi_overhead:on_starlette")
RAW = UnderUvicorn("raw-asgi", factory="bench.questions.asgi_overhead:raw")


if __name__ == "__main__":
    sys.exit(main(["--only", "small_get", *sys.argv[1:]], proxies=[BELOW_ASGI, ON_STARLETTE, RAW]))
