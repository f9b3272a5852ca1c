"""A JupyterHub with two users behind `hipache chp`, which is replaced while they work."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from tests.chp.programs import ORIGINAL, TOKEN, HubProxy, start, until_ready
from tests.chp.test_jupyterhub import PYTHON
from tests.redis_servers import free_port

HOW = (
    "$JUPYTERHUB_PYTHON names no Python with JupyterHub: python3 -m venv V && V/bin/pip install "
    "jupyterhub jupyterlab jupyterhub-idle-culler"
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PYTHON is None, reason=HOW),
    pytest.mark.skipif(bool(ORIGINAL), reason="the original's routes end with it"),
]
ADMIN, CULLER = "a-token-of-the-test", "a-token-of-the-culler"
IDLE = 10
"""Seconds without use after which the culler ends a server."""

CONFIG = """
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.last_activity_interval = 1
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.auth_token = "{token}"
c.ConfigurableHTTPProxy.check_running_interval = 1
c.Spawner.args = ["--allow-root", "--ServerApp.open_browser=False"]
# What it tells by itself would hide what the proxy has seen.
c.Spawner.environment = {{"JUPYTERHUB_ACTIVITY_INTERVAL": "3600"}}
c.JupyterHub.services = [
    {{"name": "test", "api_token": "{admin}"}},
    {{"name": "culler", "api_token": "{culler}"}},
]
c.JupyterHub.load_roles = [
    {{"name": "test", "scopes": ["admin:users", "admin:servers", "access:servers", "proxy"],
      "services": ["test"]}},
    {{"name": "culler", "scopes": ["list:users", "read:users:activity", "read:servers",
      "delete:servers"], "services": ["culler"]}},
]
"""


@dataclass
class RealHub:
    """A running one, whose proxy may be replaced."""

    folder: Path
    proxy: HubProxy
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Through the proxy, with the token of a service that may do all."""
        said = urllib.request.Request(
            f"http://127.0.0.1:{self.proxy.port}{path}", method=method,
            headers={"Authorization": f"token {ADMIN}", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        try:
            with urllib.request.urlopen(said, timeout=30) as got:
                text = got.read()
                return got.status, json.loads(text) if text[:1] in (b"{", b"[") else text
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 0, str(error)

    def stop_proxy(self) -> None:
        """The one that runs now."""
        self.proxy.stop()

    def servers(self, user: str) -> dict[str, Any]:
        status, told = self.ask("GET", f"/hub/api/users/{user}")
        return dict(told.get("servers", {})) if status == 200 else {}

    def run(self, user: str, kernel: str, code: str) -> str:
        """What a cell prints, over the kernel's WebSocket."""
        url = f"ws://127.0.0.1:{self.proxy.port}/user/{user}/api/kernels/{kernel}/channels"
        told = {"Authorization": f"token {ADMIN}"}
        with connect(url, additional_headers=told, open_timeout=30, proxy=None) as socket:
            socket.send(_execute(code))
            while True:
                said = json.loads(socket.recv(60))
                if said["msg_type"] == "stream":
                    return str(said["content"]["text"]).strip()


def _execute(code: str) -> str:
    header = {
        "msg_id": uuid4().hex, "msg_type": "execute_request", "username": "", "session": "s",
        "version": "5.3", "date": "",
    }  # fmt: skip
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {},
               "allow_stdin": False}  # fmt: skip
    return json.dumps(
        {"header": header, "parent_header": {}, "metadata": {}, "content": content,
         "channel": "shell", "buffers": []}
    )  # fmt: skip


def until(true: Callable[[], object], hub: RealHub, seconds: float = 60) -> None:
    """Wait for what another process brings about."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not true():
        if hub.process.poll() is not None or time.monotonic() > deadline:
            log = (hub.folder / "hub.log").read_text()
            raise AssertionError(log[-6000:] + hub.proxy.log.read_text()[-2000:])
        pause.wait(0.1)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RealHub]:
    assert PYTHON is not None
    store = ("--storage-backend", f"file:{tmp_path}/routes")
    proxy = start(tmp_path, *store)
    hub_port = free_port()
    (tmp_path / "config.py").write_text(
        CONFIG.format(
            port=proxy.port, api_port=proxy.api_port, hub_port=hub_port, token=TOKEN,
            admin=ADMIN, culler=CULLER,
        )
    )  # fmt: skip
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    environ |= {"PATH": f"{Path(PYTHON).parent}:{environ['PATH']}", "HOME": str(tmp_path)}
    with ExitStack() as stack, (tmp_path / "hub.log").open("wb") as log:
        running = RealHub(tmp_path, proxy, subprocess.Popen(
            [PYTHON, "-m", "jupyterhub", "-f", "config.py"], cwd=tmp_path, env=environ,
            stdout=log, stderr=log, start_new_session=True,
        ))  # fmt: skip
        stack.callback(running.stop_proxy)
        stack.callback(_end, running.process)
        until_ready([proxy])
        until(lambda: running.ask("GET", "/hub/api/")[0] == 200, running)
        yield running


@contextmanager
def culler(hub: RealHub) -> Iterator[None]:
    """Ends the servers that nobody uses, while it is open."""
    assert PYTHON is not None
    command = [PYTHON, "-m", "jupyterhub_idle_culler", f"--timeout={IDLE}", "--cull-every=1"]
    command += [f"--url=http://127.0.0.1:{hub.proxy.port}/hub/api"]
    with (hub.folder / "culler.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | {"JUPYTERHUB_API_TOKEN": CULLER}, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # a hub ends its servers, too
    process.wait(30)


def test_two_users_work_while_the_proxy_is_replaced(hub: RealHub) -> None:
    kernels: dict[str, str] = {}
    for user in ("zoe", "max"):
        assert hub.ask("POST", f"/hub/api/users/{user}")[0] == 201
        assert hub.ask("POST", f"/hub/api/users/{user}/server")[0] in {201, 202}
    for user in ("zoe", "max"):
        until(lambda u=user: hub.servers(u).get("", {}).get("ready"), hub)
        status, told = hub.ask("POST", f"/user/{user}/api/kernels", {"name": "python3"})
        assert status == 201, told
        kernels[user] = told["id"]
        assert hub.run(user, kernels[user], f"mine = '{user}'; print(6 * 7)") == "42"

    routes = set(hub.proxy.api("GET", "/api/routes").json)
    assert {"/", "/user/zoe", "/user/max"} <= routes
    hub.proxy.stop()
    hub.proxy = again(hub)
    assert set(hub.proxy.api("GET", "/api/routes").json) == routes
    for user, kernel in kernels.items():
        assert hub.run(user, kernel, "print(mine)") == user

    # One of them goes on; the culler ends the server of the other.
    def max_is_gone() -> bool:
        assert hub.run("zoe", kernels["zoe"], "print(1)") == "1"
        return "" not in hub.servers("max")

    with culler(hub):
        until(max_is_gone, hub)
    assert hub.servers("zoe")[""]["ready"]
    assert hub.ask("GET", "/user/zoe/api/status")[0] == 200
    until(lambda: "/user/max" not in hub.proxy.api("GET", "/api/routes").json, hub)


def again(hub: RealHub) -> HubProxy:
    """Another process at the same addresses, with the same store."""
    at = hub.proxy
    proxy = start(
        hub.folder, "--storage-backend", f"file:{hub.folder}/routes", "--port", str(at.port),
        "--api-port", str(at.api_port), "--metrics-port", str(at.metrics_port),
    )  # fmt: skip
    proxy = HubProxy(at.port, at.api_port, at.metrics_port, proxy.process, proxy.log)
    until_ready([proxy])
    return proxy
