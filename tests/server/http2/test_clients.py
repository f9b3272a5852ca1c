"""Clients that people use, over TLS: curl, nghttp, httpx and a browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from tests.backends import Conversation, answer, scripted
from tests.redis_servers import RedisServer
from tests.tls.authority import trusting
from tests.tls.serving import Secured, secured

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WS_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

ASSETS, STREAMS = 100, 2
PAGE = """<!doctype html><title>many</title><script>
const told = [];
async function tell() {
  const assets = await Promise.all([...Array(ASSETS).keys()].map(
    n => fetch("/asset/" + n).then(answer => answer.text())));
  const right = assets.every((text, n) => text == "asset " + n);
  const entries = performance.getEntriesByType("resource");
  const spoken = [...new Set(entries.map(entry => entry.nextHopProtocol))].join();
  fetch("/result?" + encodeURIComponent(JSON.stringify([right, spoken, told])));
}
function heard(what) {
  told.push(what);
  if (told.length == STREAMS + 1) tell();
}
for (let n = 0; n < STREAMS; n++) {
  const events = new EventSource("/events");
  events.onmessage = event => heard(event.data);
}
const socket = new WebSocket("wss://" + location.host + "/socket");
socket.onmessage = event => heard(event.data);
</script>""".replace("ASSETS", str(ASSETS)).replace("STREAMS", str(STREAMS))


@pytest.fixture
async def here(tmp_path: Path, valkey: RedisServer) -> AsyncIterator[Secured]:
    async with secured(tmp_path, valkey) as here:
        yield here


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="Debian's curl is not installed")
@pytest.mark.parametrize(
    "options", [[], ["-d", "x" * 100_000], ["-I"]], ids=["GET", "POST", "HEAD"]
)
async def test_curl(here: Secured, options: list[str]) -> None:
    said = await run(
        "curl", "-sk", "--noproxy", "*", "--resolve", f"a.test:{here.port}:127.0.0.1",
        "-w", " %{http_version} %{response_code}", *options, f"https://a.test:{here.port}/",
    )  # fmt: skip
    assert said.endswith(" 2 200")


@pytest.mark.skipif(
    shutil.which("nghttp") is None, reason="Debian's nghttp2-client is not installed"
)
async def test_nghttp(here: Secured) -> None:
    url = f"https://127.0.0.1:{here.port}/"
    said = await run("nghttp", "--no-verify-peer", "-H", ":authority: a.test", url, f"{url}b")
    assert said == "hihi"


@pytest.mark.skipif(
    shutil.which("h2load") is None, reason="Debian's nghttp2-client is not installed"
)
@pytest.mark.parametrize(
    "requests", [5000, pytest.param(500_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_no_request_of_many_on_one_connection_fails(here: Secured, requests: int) -> None:
    url = f"https://127.0.0.1:{here.port}/"
    said = await run("h2load", "-c1", "-m100", f"-n{requests}", "-H", ":authority: a.test", url)
    assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert f"status codes: {requests} 2xx" in said


async def test_httpx(here: Secured) -> None:
    async with httpx.AsyncClient(
        http2=True, verify=trusting(), trust_env=False, headers={"host": "a.test"}
    ) as client:
        url = f"https://127.0.0.1:{here.port}/"
        answers = await asyncio.gather(*(client.get(url) for _ in range(100)))
    assert {(a.http_version, a.status_code, a.text) for a in answers} == {("HTTP/2", 200, "hi")}


class Site:
    """A page, its assets, its event streams and its socket; hears what the page has to tell."""

    def __init__(self) -> None:
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.streaming = 0

    async def __call__(self, conversation: Conversation) -> None:
        while True:
            request = await conversation.receive()
            _, target = request.line
            if target == b"/":
                await conversation.send(answer(PAGE.encode(), b"Content-Type: text/html"))
            elif target.startswith(b"/asset/"):
                await conversation.send(answer(b"asset " + target.rpartition(b"/")[2]))
            elif target == b"/events":
                await conversation.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"data: event\n\n")
                )
                await conversation.gone()
            elif target == b"/socket":
                key = request.get(b"sec-websocket-key") or b""
                accept = base64.b64encode(hashlib.sha1(key + WS_GUID).digest())
                await conversation.send(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n\x81\x06socket"
                    % accept
                )
                await conversation.gone()
            else:
                await conversation.send(answer())
                if target.startswith(b"/result?"):
                    self.result.set_result(unquote(target.partition(b"?")[2].decode()))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
async def test_a_browser_loads_a_page_with_event_streams_and_a_socket(
    here: Secured, valkey: RedisServer, tmp_path: Path
) -> None:
    site = Site()
    async with scripted(site) as backend:
        async with valkey.client as client:
            await client.rpush("frontend:page.test", "id", backend.url)
        process = await asyncio.create_subprocess_exec(
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", "--no-proxy-server", "--ignore-certificate-errors",
            "--host-resolver-rules=MAP page.test 127.0.0.1", "--remote-debugging-port=0",
            f"--user-data-dir={tmp_path / 'profile'}", f"https://page.test:{here.port}/",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(50):
                right, spoken, told = json.loads(await site.result)
        finally:
            process.terminate()
            await process.wait()
    assert (right, spoken) == (True, "h2")
    assert sorted(told) == ["event", "event", "socket"]
    [socket] = [r for r in backend.requests if r.line[1] == b"/socket"]
    assert (socket.get(b"via") or b"").startswith(b"2 ")
