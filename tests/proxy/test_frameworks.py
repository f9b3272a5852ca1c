"""What servers of applications make of our fields, as real backends behind our TLS."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which

import pytest

from tests.processes import program
from tests.redis_servers import RedisServer
from tests.tls.serving import Secured, secured

WSGI = b"""
TOLD = ("wsgi.url_scheme", "REMOTE_ADDR", "SCRIPT_NAME", "PATH_INFO", "HTTP_PROXY")
def app(environ, start):
    start("200 OK", [])
    return [" ".join(environ.get(name, "-") or "-" for name in TOLD).encode()]
"""
ASGI = b"""
async def app(scope, receive, send):
    if scope["type"] == "http":
        told = scope["scheme"], scope["client"][0], scope["root_path"] or "-", scope["path"], "-"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": " ".join(told).encode()})
"""
DJANGO = (
    WSGI.partition(b"def app")[0]
    + b"""
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path
def told(request):
    names = "REMOTE_ADDR", "SCRIPT_NAME", "PATH_INFO", "HTTP_PROXY"
    return HttpResponse(
        " ".join([request.scheme, *(request.META.get(name, "-") or "-" for name in names)])
    )
urlpatterns = [re_path("", told)]
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["a.test"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
)
app = get_wsgi_application()
"""
)
RACK = b"""
run ->(env) {
  told = Rack::Request.new(env)
  names = [told.script_name, told.path_info, env["HTTP_PROXY"].to_s]
  all = [told.ssl? ? "https" : told.scheme, told.ip, *names.map { |each| each.empty? ? "-" : each }]
  [200, {"Content-Type" => "text/plain"}, [all.join(" ")]]
}
"""
GUNICORN = (sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "told:app")
UVICORN = (sys.executable, "-m", "uvicorn", "--port", "0", "--lifespan", "off", "told:app")
PUMA = ("puma", "--bind", "tcp://127.0.0.1:0", "--environment", "none", "told.ru")
SERVERS = {
    "gunicorn": ("told.py", WSGI, GUNICORN, r"Listening at: http://127.0.0.1:(\d+)"),
    "uvicorn": ("told.py", ASGI, UVICORN, r"on http://127.0.0.1:(\d+)"),
    "Django": ("told.py", DJANGO, GUNICORN, r"Listening at: http://127.0.0.1:(\d+)"),
    "Rack": ("told.ru", RACK, PUMA, r"Listening on http://127.0.0.1:(\d+)"),
}
FORGED = b"".join(
    line + b"\r\n"
    for line in (
        b"X-Forwarded-Ssl: off", b"X_Forwarded_Proto: http", b"X-Forwarded-For: 192.0.2.7",
        b"SCRIPT_NAME: /evil", b"Script-Name: /evil", b"PATH_INFO: /admin", b"Proxy: http://evil",
        b"X-Forwarded-Protocol: ftp",
    )
)  # fmt: skip


@asynccontextmanager
async def behind_tls(server: str, folder: Path, valkey: RedisServer) -> AsyncIterator[Secured]:
    name, source, words, listening = SERVERS[server]
    if which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed; Debian has a package of that name")
    (folder / name).write_bytes(source)
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    async with (
        secured(folder, valkey) as proxy,
        program("sh", "-c", 'exec "$@" 1>&2', "-", *words, cwd=folder, environ=environ) as backend,
    ):
        port = (await backend.saw(listening))[1]
        async with valkey.client as client:
            await client.delete("frontend:a.test")
            await client.rpush("frontend:a.test", "id", f"http://127.0.0.1:{port}")
        while (reply := await proxy.get()).endswith(b"hi"):
            pass  # the route of before is still remembered
        assert b"200 OK" in reply
        yield proxy


@pytest.mark.parametrize("server", SERVERS)
async def test_it_knows_of_https_and_of_its_client(
    server: str, tmp_path: Path, valkey: RedisServer
) -> None:
    async with behind_tls(server, tmp_path, valkey) as proxy:
        request = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n%b\r\n"
        for fields in (b"", FORGED):
            reply = await proxy.talk(request % fields)
            assert b"https 127.0.0.1 - /x -" in reply.split(b"\r\n"), reply
