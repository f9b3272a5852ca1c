"""A real browser opens a page through the proxy and talks over a socket through it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

from tests.websocket.peers import echo, port_of
from tests.websocket.serving import proxying

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

PAGE = """<!doctype html><title>echo</title><script>
const socket = new WebSocket(`ws://${location.host}/socket`, "echo.test");
const sent = ["text", "\\u00e9\\u{1f600}", "x".repeat(70000)];
const seen = [];
socket.onopen = () => sent.forEach(text => socket.send(text));
socket.onmessage = event => {
  seen.push(event.data);
  if (seen.length == sent.length) socket.close(4000, "seen all");
};
socket.onclose = event => {
  const same = sent.every((text, i) => seen[i] === text);
  const result = [same, socket.protocol, event.wasClean, event.code, event.reason];
  fetch("/result?" + encodeURIComponent([...result, socket.extensions].join("|")));
};
</script>"""


class Site:
    """Serves the page, echoes over `/socket`, and hears what the page has to tell."""

    def __init__(self) -> None:
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        if path == "/socket":
            return None
        if path == "/result":
            self.result.set_result(unquote(query))
        body = PAGE.encode() if path == "/" else b""
        fields = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
        return Response(200, "OK", Headers(fields), body)


@asynccontextmanager
async def browser(profile: Path, url: str) -> AsyncIterator[None]:
    """Chromium with `url` open and nothing else to do."""
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",  # the tests may run as root
        "--disable-gpu",
        "--disable-background-networking",
        "--no-proxy-server",
        "--remote-debugging-port=0",  # keeps it open
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
async def test_a_browser_echoes_through_the_proxy(mode: str, tmp_path: Path) -> None:
    site = Site()
    options = {
        "process_request": site.answer,
        "subprotocols": ["echo.test"],
        "compression": "deflate",
    }
    async with (
        serve(echo, "127.0.0.1", 0, **options) as server,  # type: ignore[arg-type]
        proxying(f"http://127.0.0.1:{port_of(server)}", mode=mode, host=b"127.0.0.1") as proxy,
        browser(tmp_path, f"http://127.0.0.1:{proxy.port}/"),
    ):
        *result, extensions = (await site.result).split("|")
    assert result == ["true", "echo.test", "true", "4000", "seen all"]
    assert ("permessage-deflate" in extensions) == (mode == "tunnel")
