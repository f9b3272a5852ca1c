"""What servers of applications make of our fields, as real backends behind our TLS."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.proxy.real_servers import (
    GUNICORN,
    GUNICORN_LISTENS,
    PUMA,
    PUMA_LISTENS,
    RealServer,
    started,
)
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
SERVLET = b"""
import java.io.IOException;
import java.util.EnumSet;
import javax.servlet.DispatcherType;
import javax.servlet.http.*;
import org.eclipse.jetty.server.*;
import org.eclipse.jetty.servlet.*;
import org.springframework.web.filter.ForwardedHeaderFilter;
public class Told extends HttpServlet {
  protected void doGet(HttpServletRequest request, HttpServletResponse answer) throws IOException {
    String[] told = {
      request.isSecure() ? request.getScheme() : "not secure", request.getRemoteAddr(),
      request.getContextPath(), request.getRequestURI(), request.getHeader("Proxy")
    };
    for (int i = 0; i < told.length; i++)
      if (told[i] == null || told[i].isEmpty()) told[i] = "-";
    answer.getWriter().print(String.join(" ", told));
  }
  public static void main(String[] arguments) throws Exception {
    Server server = new Server();
    ServerConnector connector = new ServerConnector(server);
    connector.setHost("127.0.0.1");
    server.addConnector(connector);
    ServletContextHandler all = new ServletContextHandler();
    all.addFilter(ForwardedHeaderFilter.class, "/*", EnumSet.of(DispatcherType.REQUEST));
    all.addServlet(new ServletHolder(new Told()), "/*");
    server.setHandler(all);
    server.start();
    System.err.println("port " + connector.getLocalPort());
  }
}
"""
JETTY = "server servlet http io util util-ajax security"
FRAMEWORKS = {
    "gunicorn": RealServer(
        file="told.py", source=WSGI, words=(*GUNICORN, "told:app"), listening=GUNICORN_LISTENS
    ),
    "uvicorn": RealServer(
        file="told.py",
        source=ASGI,
        words=(sys.executable, "-m", "uvicorn", "--port", "0", "--lifespan", "off", "told:app"),
        listening=r"on http://127.0.0.1:(\d+)",
    ),
    "Django": RealServer(
        file="told.py", source=DJANGO, words=(*GUNICORN, "told:app"), listening=GUNICORN_LISTENS
    ),
    "Rack": RealServer(
        file="told.ru", source=RACK, words=(*PUMA, "told.ru"), listening=PUMA_LISTENS
    ),
}
JARS = Path("/usr/share/java")
SPRING_JARS = [
    *(JARS / f"jetty9-{each}.jar" for each in JETTY.split()),
    *(JARS / f"spring3-{each}.jar" for each in ("web", "core", "beans", "context")),
    JARS / "servlet-api.jar",
    JARS / "commons-logging.jar",
]
SPRING = RealServer(
    file="Told.java",
    source=SERVLET,
    words=("java", "-cp", ":".join(map(str, SPRING_JARS)), "Told.java"),
    listening=r"^port (\d+)",
)
FORGED = b"".join(
    line + b"\r\n"
    for line in (
        b"X-Forwarded-Ssl: off", b"X_Forwarded_Proto: http", b"X-Forwarded-For: 192.0.2.7",
        b"SCRIPT_NAME: /evil", b"Script-Name: /evil", b"PATH_INFO: /admin", b"Proxy: http://evil",
        b"X-Forwarded-Protocol: ftp", b"X-Forwarded-Prefix: /evil", b"X-Forwarded-Host: evil",
        b"X-Forwarded-Port: 80", b"Forwarded: for=192.0.2.7;proto=http;host=evil",
    )
)  # fmt: skip


@asynccontextmanager
async def behind_tls(
    server: RealServer, folder: Path, valkey: RedisServer
) -> AsyncIterator[Secured]:
    async with secured(folder, valkey) as proxy, started(server, folder) as backend:
        async with valkey.client as client:
            await client.delete("frontend:a.test")
            await client.rpush("frontend:a.test", "id", f"http://127.0.0.1:{backend.port}")
        while (reply := await proxy.get()).endswith(b"hi"):
            pass  # the route of before is still remembered
        assert b"200 OK" in reply, reply
        yield proxy


async def knows_of_https_and_of_its_client(
    server: RealServer, folder: Path, valkey: RedisServer
) -> None:
    async with behind_tls(server, folder, valkey) as proxy:
        request = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n%b\r\n"
        for fields in (b"", FORGED):
            reply = await proxy.talk(request % fields)
            assert b"https 127.0.0.1 - /x -" in reply.split(b"\r\n"), reply


@pytest.mark.parametrize("server", FRAMEWORKS)
async def test_it_knows_of_https_and_of_its_client(
    server: str, tmp_path: Path, valkey: RedisServer
) -> None:
    await knows_of_https_and_of_its_client(FRAMEWORKS[server], tmp_path, valkey)


@pytest.mark.long
async def test_spring_knows_of_https_and_of_its_client(tmp_path: Path, valkey: RedisServer) -> None:
    if lacking := [jar.name for jar in SPRING_JARS if not jar.exists()]:
        pytest.skip(f"Debian's libspring-web-java and libjetty9-java are needed: no {lacking}")
    await knows_of_https_and_of_its_client(SPRING, tmp_path, valkey)
