"""configurable-http-proxy's own cases and some more, asked of running processes.

With $CONFIGURABLE_HTTP_PROXY they are asked of the original: it gives the same answers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.chp.programs import ORIGINAL, TOKEN, HubProxy, echo, start, until_ready

CLOSED = "http://127.0.0.1:9"
HANDSHAKE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
only_ours = pytest.mark.skipif(bool(ORIGINAL), reason="the original differs")


@dataclass
class Hub:
    """The proxies, by a letter for their flags, and a target."""

    target: str
    proxies: dict[str, HubProxy]
    web_socket: str = ""
    folder: Path = field(default_factory=Path)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("chp")
    pages = folder / "pages"
    pages.mkdir()
    (pages / "404.html").write_text("<p>404'D")
    (pages / "error.html").write_text("<p>UNKNOWN")
    with ExitStack() as stack:
        target = f"http://127.0.0.1:{stack.enter_context(echo())}"
        flags: dict[str, tuple[str, ...]] = {
            "a": (),
            "b": (
                "--no-include-prefix", "--change-origin", "--no-x-forward", "--auto-rewrite",
                "--protocol-rewrite", "https", "--custom-header", "k1: v1", "--custom-header",
                " k2 : host:123 ", "--error-path", str(pages),
            ),
            "c": ("--host-routing", "--no-prepend-path", "--error-target", f"{target}/errors"),
        }  # fmt: skip
        flags["b"] += ("--pid-file", str(folder / "pid"))
        proxies = {letter: start(folder, *said) for letter, said in flags.items()}
        for proxy in proxies.values():
            stack.callback(proxy.stop)
        until_ready(list(proxies.values()))
        web_sockets = stack.enter_context(serve(talk, "127.0.0.1", 0))
        stack.callback(stopped(web_sockets))
        port = web_sockets.socket.getsockname()[1]
        yield Hub(target, proxies, f"http://127.0.0.1:{port}", folder)


def talk(connection: ServerConnection) -> None:
    connection.send("connected")
    for message in connection:
        connection.send(f"{connection.request.path if connection.request else ''} {message!r}")


def stopped(server: Server) -> Any:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def stop() -> None:
        server.shutdown()
        thread.join()

    return stop


# What the API answers. "@" stands for the target's URL.

API = [
    ("GET", "/api/routes", None, 200, b"{}"),
    ("GET", "/api/routes/", None, 200, b"{}"),
    ("GET", "/api/routes/nobody", None, 404, b""),
    ("GET", "/", None, 404, b"Not Found"),
    ("GET", "/api", None, 404, b"Not Found"),
    ("GET", "/api/routesx", None, 404, b"Not Found"),
    ("PUT", "/api/routes/x", "{}", 405, b"Method not supported"),
    ("PATCH", "/api/routes/x", "{}", 405, b"Method not supported"),
    ("POST", "/api/routes/x", "{}", 400, b"Must specify 'target' as string"),
    ("POST", "/api/routes/x", "null", 400, b"Must specify 'target' as string"),
    ("POST", "/api/routes/x", "[]", 400, b"Must specify 'target' as string"),
    ("POST", "/api/routes/x", '{"target": 5}', 400, b"Must specify 'target' as string"),
    ("POST", "/api/routes/x", "no json", 400, None),
    ("POST", "/api/routes/x", "[" * 100_000, 400, None),
    ("POST", "/api/routes/x", "", 400, None),
    ("DELETE", "/api/routes/nobody", None, 404, b""),
    ("GET", "/api/routes?inactiveSince=endoftheuniverse", None, 400,
     b"Invalid datestamp 'endoftheuniverse' must be ISO8601."),
    ("GET", "/api/routes?inactive_since=never", None, 400,
     b"Invalid datestamp 'never' must be ISO8601."),
    ("GET", "/api/routes?inactive_since=1970-01-01T00:00:00.001Z", None, 200, b"{}"),
    ("GET", "/api/routes?inactive_since=", None, 200, b"{}"),
]  # fmt: skip


@pytest.mark.parametrize("case", API, ids=lambda case: str(case)[:80])
def test_what_the_api_answers(hub: Hub, case: tuple[str, str, str | None, int, bytes]) -> None:
    method, target, body, status, text = case
    proxy = hub.proxies["a"]
    for path in proxy.api("GET", "/api/routes").json:
        proxy.api("DELETE", f"/api/routes{path}")
    said = proxy.api(method, target, body)
    assert said.status == status
    if text is not None:
        assert said.body == text


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("token", ["", "wrong"])
def test_only_the_token_opens_the_api(hub: Hub, method: str, token: str) -> None:
    said = hub.proxies["a"].api(method, "/api/routes/x", '{"target": "http://x"}', token=token)
    assert (said.status, said.body) == (403, b"")


NAMES = [
    ("/user/zoe", "/user/zoe"),
    ("/user/foo%40bar", "/user/foo@bar"),
    ("/has%20space/foo/", "/has space/foo"),
    ("/has/%C3%BC%C3%B1", "/has/üñ"),
    ("/user/%E7%A7%80%E6%A8%B9", "/user/秀樹"),
    ("/trailing/", "/trailing"),
    ("", "/"),
    ("/", "/"),
]


@pytest.mark.parametrize(("said", "name"), NAMES)
def test_a_route_is_named_by_its_decoded_path(hub: Hub, said: str, name: str) -> None:
    proxy = hub.proxies["a"]
    proxy.add(said, hub.target, user="zoe", jupyterhub=True, nested={"a": [1, None]})
    listed = proxy.api("GET", "/api/routes").json[name]
    moved = listed.pop("last_activity")
    assert moved.endswith("Z")
    assert listed == {
        "target": hub.target, "user": "zoe", "jupyterhub": True, "nested": {"a": [1, None]},
    }  # fmt: skip
    if name != "/":
        assert proxy.api("GET", f"/api/routes{said}").json["user"] == "zoe"
    gone = proxy.api("DELETE", f"/api/routes{said or '/'}")
    assert (gone.status, gone.body) == (204, b"")
    assert name not in proxy.api("GET", "/api/routes").json


def test_a_route_that_is_said_again_is_replaced(hub: Hub) -> None:
    proxy = hub.proxies["a"]
    proxy.add("/twice", CLOSED, first=1)
    proxy.add("/twice/", hub.target, second=2)
    found = proxy.api("GET", "/api/routes/twice").json
    assert (found["target"], found["second"]) == (hub.target, 2)
    assert "first" not in found
    assert proxy.web("/twice").status == 200


# Which route takes a request, and what its target is asked: path and target of a route (None:
# none), what a client asks for, what the target sees (None: 404).

PATHS = [
    ("a", "/", "@", "/any/random/url", "/any/random/url"),
    ("a", "/bar", "@/foo", "/bar/rest/of/it", "/foo/bar/rest/of/it"),
    ("a", "/bar", "@/foo/", "/bar/rest", "/foo/bar/rest"),
    ("a", "/bar", "@/foo", "/bar?query=foo", "/foo/bar?query=foo"),
    ("a", "/bar", "@/foo?a=1", "/bar?b=2", "/foo/bar?a=1&b=2"),
    ("a", "/bar", "@", "/bar", "/bar"),
    ("a", "/bar", "@", "/bar/", "/bar/"),
    ("a", "/bar", "@", "/barx", None),
    ("a", "/bar", "@", "/Bar", None),
    ("a", "/bar", "@", "/", None),
    ("a", "/b%40r/b%20r", "@/foo", "/b%40r/b%20r/rest", "/foo/b%40r/b%20r/rest"),
    ("a", "/b%40r/b%20r", "@/foo", "/b@r/b%20r/rest", "/foo/b@r/b%20r/rest"),
    ("a", "/%E7%A7%80", "@", "/%E7%A7%80/x", "/%E7%A7%80/x"),
    ("a", "/bar", "@", "/x/../bar/y", "/bar/y"),
    ("a", "/bar", "@", "/bar/../x", None),
    ("a", "/bar", "@", "/bar/x//y", "/bar/x//y"),
    ("a", "/bar", "@", "/bar%2Fx", "/bar%2Fx"),
    ("a", "/bar", "@", "/bar?", "/bar"),
    ("b", "/bar", "@/foo", "/bar/rest/of/it", "/foo/rest/of/it"),
    ("b", "/bar", "@/foo", "/bar?x", "/foo?x"),
    ("b", "/bar", "@", "/bar", "/"),
    ("b", "/", "@/foo", "/bar", "/foo/bar"),
    ("c", "/test.host", "@/foo", "/some/path", "/some/path"),
    ("c", "/test.host/deep", "@", "/deep/x", "/deep/x"),
    ("c", "/test.host/deep", "@", "/x", None),
    ("c", "/other.host", "@", "/x", None),
    ("c", "/", "@", "/x", "/x"),
]


@pytest.mark.parametrize("case", PATHS, ids=str)
def test_which_target_is_asked_for_what(hub: Hub, case: tuple[str, str, str, str, str]) -> None:
    letter, path, target, asked, seen = case
    proxy = hub.proxies[letter]
    proxy.add(path, target.replace("@", hub.target))
    try:
        said = proxy.web(asked, host="test.host:80")
    finally:
        proxy.api("DELETE", f"/api/routes{path}")
    if seen is None:
        assert said.status == 404
    else:
        assert (said.status, said.json["url"]) == (200, seen)


def test_the_longest_path_wins(hub: Hub) -> None:
    proxy = hub.proxies["a"]
    proxy.add("/long", f"{hub.target}/short")
    proxy.add("/long/a/b", f"{hub.target}/deep")
    seen = [proxy.web(path).json["url"] for path in ("/long/a", "/long/a/b/c", "/long/a/bc")]
    assert seen == ["/short/long/a", "/deep/long/a/b/c", "/short/long/a/bc"]


def test_what_a_target_is_told(hub: Hub) -> None:
    for letter in "ab":
        hub.proxies[letter].add("/told", hub.target)
    headers = {"Host": "hub.test", "X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4"}
    plain, other = (
        {
            name.lower(): value
            for name, value in hub.proxies[letter]
            .ask(hub.proxies[letter].port, "GET", "/told", None, headers)
            .json["headers"]
            .items()
        }
        for letter in "ab"
    )
    assert plain["host"] == "hub.test"
    assert plain["x-forwarded-for"].replace(" ", "") == "1.2.3.4,127.0.0.1"
    assert plain["x-forwarded-proto"].split(",")[0] == "https"
    assert plain["x-forwarded-host"] == "hub.test"
    assert other["host"] == hub.target.removeprefix("http://")
    assert (other["x-forwarded-for"], other["x-forwarded-proto"]) == ("1.2.3.4", "https")
    assert "x-forwarded-host" not in other
    assert (other["k1"], other["k2"]) == ("v1", "host:123")


def test_a_redirect_of_a_target_to_itself_can_be_rewritten(hub: Hub) -> None:
    itself = f"{hub.target}/whatever?x=1"
    for letter, where, expected in (
        ("a", itself, itself),
        ("b", itself, "https://hub.test:81/whatever?x=1"),
        ("b", "http://foo.test:12345/whatever", "http://foo.test:12345/whatever"),
        ("b", "/whatever", "/whatever"),
    ):
        hub.proxies[letter].add("/sent", hub.target)
        said = hub.proxies[letter].web(f"/sent/to?{where}", host="hub.test:81")
        assert (said.status, said.headers["location"]) == (301, expected)


# Errors

FAILURES = [
    ("a", "/nobody/here", 404, "text/html", b"404"),
    ("a", "/closed/x", 503, "text/html", b"503"),
    ("a", "/%", 500, "text/html", None),
    ("a", "/unusable/x", 500, "text/html", None),
    ("b", "/nobody/here", 404, "text/html", b"404'D"),
    ("b", "/closed/x", 503, "text/html", b"UNKNOWN"),
    ("c", "/nobody/here?a=b&c", 404, "text/plain", b"/nobody/here?a=b&c"),
    ("c", "/closed/x", 503, "text/plain", b"/closed/x"),
    ("c", "/%", 500, "text/plain", b"/%"),
]


@pytest.mark.parametrize("case", FAILURES, ids=str)
def test_what_is_answered_in_place_of_a_target(
    hub: Hub, case: tuple[str, str, int, str, bytes]
) -> None:
    letter, asked, status, kind, body = case
    proxy = hub.proxies[letter]
    proxy.add("/test.host/closed" if letter == "c" else "/closed", CLOSED)
    if letter == "a":
        proxy.add("/unusable", "no-url")
    said = proxy.web(asked, host="test.host")
    assert (said.status, said.headers["content-type"]) == (status, kind)
    assert body is None or body in said.body


@pytest.mark.parametrize("letter", ["a", "c"])
def test_a_web_socket_that_fails_gets_no_page(hub: Hub, letter: str) -> None:
    proxy = hub.proxies[letter]
    proxy.add("/127.0.0.1/shut" if letter == "c" else "/shut", CLOSED)
    for path, status in (("/shut/ws", 503), ("/nobody/ws", 404)):
        said = proxy.ask(proxy.port, "GET", path, headers=HANDSHAKE | {"Host": "127.0.0.1"})
        assert (said.status, said.body) == (status, b"")


# In use


def moved(proxy: HubProxy, path: str, since: str) -> None:
    """Wait until the route's activity is later."""
    pause = threading.Event()
    for _ in range(200):
        if proxy.activity(path) > since:
            return
        pause.wait(0.02)
    raise AssertionError("nothing moved")


def test_success_is_activity_and_failure_is_none(hub: Hub) -> None:
    proxy = hub.proxies["a"]
    for path, target in (("/busy", hub.target), ("/gone", CLOSED)):
        proxy.add(path, target)
    busy, gone = proxy.activity("/busy"), proxy.activity("/gone")
    for asked in ("/busy/status?404", "/busy/status?302", "/busy/status?500", "/gone/x"):
        proxy.web(asked)
    assert (proxy.activity("/busy"), proxy.activity("/gone")) == (busy, gone)
    threading.Event().wait(0.002)  # the clock of the API has milliseconds
    proxy.web("/busy/x")
    moved(proxy, "/busy", busy)


def test_a_web_socket_is_activity(hub: Hub) -> None:
    proxy = hub.proxies["a"]
    proxy.add("/ws", hub.web_socket)
    with connect(f"ws://127.0.0.1:{proxy.port}/ws/x?y") as socket:
        assert socket.recv() == "connected"
        before = proxy.activity("/ws")
        threading.Event().wait(0.002)
        socket.send("hi")
        assert socket.recv() == "/ws/x?y 'hi'"
        moved(proxy, "/ws", before)
        quiet = proxy.activity("/ws")
        assert proxy.activity("/ws") == quiet


def test_the_inactive_are_found(hub: Hub) -> None:
    proxy = hub.proxies["b"]
    proxy.add("/old", hub.target)
    threading.Event().wait(0.002)
    proxy.add("/young", hub.target)
    since = proxy.activity("/young")
    for name in ("inactive_since", "inactiveSince"):
        listed = proxy.api("GET", f"/api/routes?{name}={since}").json
        assert "/old" in listed
        assert "/young" not in listed
    assert "/young" in proxy.api("GET", "/api/routes?inactive_since=2999-01-01").json


# Beside


def test_health_and_metrics(hub: Hub) -> None:
    proxy = hub.proxies["a"]
    said = proxy.web("/_chp_healthz")
    assert (said.status, said.json) == (200, {"status": "OK"})
    assert said.headers["content-type"] == "application/json"
    assert proxy.web("/_chp_healthz/x").status == 404
    assert proxy.ask(proxy.metrics_port, "GET", "/").status == 404
    proxy.add("/counted", hub.target)
    proxy.web("/counted")
    page = proxy.ask(proxy.metrics_port, "GET", "/metrics").body.decode()
    for name in (
        "api_route_get", "api_route_add", "api_route_delete", "find_target_for_req_count",
        "last_activity_updating_count", "requests_ws", "requests_web",
        'requests_proxy{status="200"}', 'requests_api{status="201"}',
        "process_cpu_seconds_total", "process_resident_memory_bytes",
    ):  # fmt: skip
        [line] = [line for line in page.splitlines() if line.startswith(f"{name} ")]
        assert float(line.rpartition(" ")[2]) >= 0


def test_the_token_is_in_no_log(hub: Hub) -> None:
    hub.proxies["a"].api("GET", "/api/routes", token=f"{TOKEN}x")
    for proxy in hub.proxies.values():
        assert TOKEN not in proxy.log.read_text()


def test_the_pid_is_written(hub: Hub) -> None:
    pid = int((hub.folder / "pid").read_text())
    assert ORIGINAL or pid == hub.proxies["b"].process.pid


def test_what_a_route_says_of_its_host(hub: Hub) -> None:
    proxy = hub.proxies["c"]
    proxy.add("/some.host/x", hub.target)
    assert proxy.api("GET", "/api/routes/some.host/x").json["host"] == "some.host"


@only_ours
def test_a_target_on_a_unix_socket_is_named_as_there(hub: Hub) -> None:
    proxy = hub.proxies["a"]
    proxy.add("/unix", "http+unix://%2Fnowhere%2Fat.sock/x")
    assert json.loads(proxy.api("GET", "/api/routes/unix").body)["target"].startswith("http+unix")
    assert proxy.web("/unix").status == 503
