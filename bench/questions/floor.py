"""The floor under any ASGI application: uvicorn says hello, without proxying anything.

`python -m bench.questions.floor` measures it beside nginx (which proxies), in one run.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from bench.compare.__main__ import main
from bench.compare.proxies import Nginx, Proxy, serve
from bench.compare.sites import SMALL_BODY, Site
from bench.processes import CHECKOUT

Message = MutableMapping[str, Any]


async def hello(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """The least that an ASGI application can do: the backend's small answer, from memory."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})


BODY = SMALL_BODY.encode()
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]


@dataclass
class UvicornHello(Proxy):
    """uvicorn as `hipache serve` runs it, around `hello`."""

    name: str = "uvicorn-hello"

    def start(self, site: Site, stack: ExitStack) -> list[int]:
        argv = [
            sys.executable, "-m", "uvicorn", "bench.questions.floor:hello",
            "--port", str(site.port), "--loop", "uvloop", "--http", "httptools", "--lifespan",
            "off", "--no-access-log", "--no-proxy-headers", "--no-server-header",
            "--no-date-header",
        ]  # fmt: skip
        return [serve(argv, site, stack, {"PYTHONPATH": str(CHECKOUT)})]

    def version(self) -> str:
        return f"uvicorn {version('uvicorn')}"


if __name__ == "__main__":
    only = ["--only", "small_get,clients_16,clients_256"]
    sys.exit(main([*only, *sys.argv[1:]], proxies=[Nginx(), UvicornHello()]))
