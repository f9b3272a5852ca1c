"""A hub's proxy as a hub starts it, and what stands behind it: ours, or npm's own."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ORIGINAL = os.environ.get("CONFIGURABLE_HTTP_PROXY")
"""The program of the npm package, to hold the tables to: ours is asked where it is not set."""
TOKEN = "a-token-that-nobody-logs"


class Echo(BaseHTTPRequestHandler):
    """Tells what it was asked; `/status?502` and `/to?URL` answer so, wherever they stand."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        said = self.rfile.read(length).decode()
        parts = urlsplit(self.path)
        status, location = 200, ""
        if parts.path.endswith("/status"):
            status = int(parts.query)
        elif parts.path.endswith("/to"):
            status, location = 301, parts.query
        body = json.dumps({"url": self.path, "headers": dict(self.headers), "body": said}).encode()
        kind = "application/json"
        if "/errors/" in parts.path:
            body, kind = parse_qs(parts.query)["url"][0].encode(), "text/plain"
        self.send_response(status)
        if location:
            self.send_header("location", location)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def echo() -> Iterator[int]:
    """A target; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HubProxy:
    """A running one."""

    port: int
    api_port: int
    metrics_port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(
        self,
        port: int,
        method: str,
        target: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, target, body, dict(headers or {}))
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()

    def api(self, method: str, target: str, body: str | None = None, token: str = TOKEN) -> Answer:
        told = {"Authorization": f"token {token}"} if token else {}
        return self.ask(self.api_port, method, target, body, told)

    def web(self, target: str, host: str = "hub.test", method: str = "GET") -> Answer:
        return self.ask(self.port, method, target, headers={"Host": host})

    def add(self, path: str, target: str, **more: Any) -> None:
        said = self.api("POST", f"/api/routes{path}", json.dumps({"target": target, **more}))
        assert (said.status, said.body) == (201, b"")

    def activity(self, path: str) -> str:
        return str(self.api("GET", f"/api/routes{path}").json["last_activity"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def start(folder: Path, *flags: str, environ: Mapping[str, str] | None = None) -> HubProxy:
    """One that is about to serve, with these flags."""
    port, api_port, metrics_port = free_port(), free_port(), free_port()
    command = [ORIGINAL] if ORIGINAL else [sys.executable, "-m", "app.cli", "chp"]
    where = ["--ip", "127.0.0.1", "--port", str(port)]
    where += ["--api-ip", "127.0.0.1", "--api-port", str(api_port)]
    where += ["--metrics-ip", "127.0.0.1", "--metrics-port", str(metrics_port)]
    log = folder / f"{port}.log"
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CONFIGPROXY_AUTH_TOKEN": TOKEN,
        **(environ or {}),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *where, *flags], stdout=out, stderr=out, env=env, cwd=folder
        )
    return HubProxy(port, api_port, metrics_port, process, log)


def until_ready(proxies: Sequence[HubProxy]) -> None:
    """Wait until all of them serve."""
    pause = threading.Event()
    for proxy in proxies:
        for port in (proxy.port, proxy.api_port, proxy.metrics_port):
            for _ in range(400):
                assert proxy.process.poll() is None, proxy.log.read_text()
                try:
                    proxy.ask(port, "GET", "/_chp_healthz")
                    break
                except OSError:
                    pause.wait(0.05)
            else:
                raise AssertionError(proxy.log.read_text())
