"""Every way of asking gets the same decision: by ASGI, below it, as a WebSocket, by `explain`."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.balancing.balancer import Balancer
from app.cli import main
from app.config.structs import Config, parse
from app.fields.passing import STRANGERS
from app.fields.via import hop_name
from app.frontends.passwords import make_hash
from app.logs.record import AccessRecord
from app.main import create_app
from app.proxy.decision import Decisions, OwnAnswer, OwnPath, settled
from app.proxy.guards.overload import Overload
from app.proxy.request import Request
from app.routing import Route
from app.server.peer import Peer
from app.stores import driver_of
from tests.backends import ScriptedBackend, answer, answering
from tests.redis_servers import RedisServer
from tests.serving import PassingOn, Proxy, serving
from tests.websocket.serving import FixedRoutes

HASH = make_hash(b"open sesame", b"0123456789abcdef", ln=1)
SWITCH = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
LOOP = {"Via": "1.1 HOP, 1.1 HOP"}


@dataclass(frozen=True)
class Kind:
    """A request, the frontend of its host, and the status that answers it."""

    status: int
    options: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    host: str = "a.test"
    target: str = "/x?y"
    backends: tuple[str, ...] | None = ("BACKEND",)
    """None where the host has no frontend."""
    location: str = ""
    """Without its scheme."""
    forwarded: bool = False


KINDS = {
    "a request for a backend": Kind(200, forwarded=True),
    "a probe": Kind(200, host="__ping__"),
    "a probe that a frontend would match": Kind(200, host="__ready__"),
    "no frontend": Kind(400, host="b.test", backends=None),
    "no host": Kind(400, host="a..test", backends=None),
    "no backend": Kind(502, backends=()),
    "no usable backend": Kind(502, backends=("ftp://127.0.0.1",)),
    "a denied backend": Kind(502, backends=("http://db.internal",)),
    "another one beside a denied backend": Kind(
        200, backends=("http://db.internal", "BACKEND"), forwarded=True
    ),
    "a redirect": Kind(308, {"redirect": "on"}, location="://a.test/x?y"),
    "a redirect without the port of http": Kind(
        308, {"redirect": "on"}, host="a.test:8080", location="://a.test/x?y"
    ),
    "a challenge, never redirected": Kind(
        200, {"redirect": "on"}, target="/.well-known/acme-challenge/t", forwarded=True
    ),
    "TLS in front of a trusted proxy": Kind(
        200, {"redirect": "on"}, {"X-Forwarded-Proto": "https"}, forwarded=True
    ),
    "a client that the networks exclude": Kind(403, {"allow": "192.0.2.0/24"}),
    "a client that the networks include": Kind(200, {"allow": "127.0.0.1"}, forwarded=True),
    "an address that a trusted proxy tells": Kind(
        403, {"deny": "192.0.2.0/24"}, {"X-Forwarded-For": "192.0.2.7"}
    ),
    "access options that nobody can read": Kind(500, {"allow": "home"}),
    "a wrong password": Kind(
        401, {"basicAuth": f"alice:{HASH}"}, {"Authorization": "Basic YWxpY2U6d3Jvbmc="}
    ),
    "a right password": Kind(
        200,
        {"basicAuth": f"alice:{HASH}"},
        {"Authorization": "Basic YWxpY2U6b3BlbiBzZXNhbWU="},
        forwarded=True,
    ),
    "a loop": Kind(508, fields=LOOP),
    "once round is no loop": Kind(200, fields={"Via": "1.1 HOP"}, forwarded=True),
    "a redirect before a refusal": Kind(
        308, {"redirect": "on", "deny": "0.0.0.0/0"}, LOOP, location="://a.test/x?y"
    ),
    "a refusal before a loop": Kind(403, {"deny": "0.0.0.0/0"}, LOOP),
}


@dataclass
class Asked:
    """How one way answered."""

    status: int
    location: str
    forwarded: bool


@dataclass
class Case:
    """A kind of request, and where to ask."""

    kind: Kind
    backend: ScriptedBackend
    valkey: RedisServer
    config: Config
    file: Path

    @property
    def fields(self) -> dict[str, str]:
        hop = hop_name(*driver_of(self.config).names, socket.gethostname()).decode()
        return {name: value.replace("HOP", hop) for name, value in self.kind.fields.items()}

    async def over_http(self, *, asgi: bool, web_socket: bool = False) -> list[Asked]:
        """Twice: the route is asked of the store, and then it is known."""
        app = create_app(self.config)
        if asgi:
            app.add_middleware(PassingOn)
        kind, switch = self.kind, SWITCH if web_socket else {}
        head = [f"GET {kind.target} HTTP/1.1", f"Host: {kind.host}"]
        head += [f"{name}: {value}" for name, value in (self.fields | switch).items()]
        found = []
        async with serving(app) as port:
            proxy = Proxy(port, self.valkey, app)
            for _ in range(2):
                before = len(self.backend.requests)
                client = await proxy.connect()
                client.send("\r\n".join([*head, "", ""]).encode())
                status, headers, _ = await client.response()
                await client.close()
                sent = re.search(rb"(?i)\r\nlocation: ([^\r]+)", headers)
                location = sent[1].decode() if sent else ""
                found.append(Asked(status, location, len(self.backend.requests) > before))
        return found

    async def explained(self, scheme: str) -> Asked:
        """By `hipache explain`, for a client at the same address."""
        url = f"{scheme}://{self.kind.host}{self.kind.target}"
        fields = [part for item in self.fields.items() for part in ("-H", ": ".join(item))]
        asked = ["explain", url, "--client", "127.0.0.1", *fields]
        run = partial(CliRunner().invoke, main, [*asked, "--json", "--config", str(self.file)])
        done = await asyncio.to_thread(run)
        assert done.exit_code == 0, done.output
        found = json.loads(done.output)
        if found["choice"]:
            assert found["choice"] == [f"http://127.0.0.1:{self.backend.port}"]
            return Asked(200, "", forwarded=True)
        status, _, rest = found["why"].partition(" ")
        return Asked(int(status), rest.removeprefix("to ") if status == "308" else "", False)


async def case(kind: Kind, backend: ScriptedBackend, valkey: RedisServer, folder: Path) -> Case:
    values = {
        "driver": valkey.url,
        "server": {
            "accessLog": None, "snapshot": None, "storeTimeout": 10,
            "denyBackends": ["*.internal"], "trustedProxies": ["127.0.0.1/32"],
        },
        "admin": {"bind": None},
    }  # fmt: skip
    file = folder / "config.json"
    file.write_text(json.dumps(values))
    if kind.backends is not None:
        ours = f"http://127.0.0.1:{backend.port}"
        urls = [ours if url == "BACKEND" else url for url in kind.backends]
        host = kind.host.partition(":")[0]
        async with valkey.client as client:
            await client.rpush(f"frontend:{host}", "the-site", *urls)
            if kind.options:
                await client.hset(f"options:{host}", mapping=dict(kind.options))
    return Case(kind, backend, valkey, parse(json.dumps(values)), file)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_every_way_of_asking_gets_the_same_decision(
    kind: Kind, valkey: RedisServer, tmp_path: Path
) -> None:
    async with answering(answer(b"hello")) as backend:
        asked = await case(kind, backend, valkey, tmp_path)
        http = [
            *await asked.over_http(asgi=False),
            *await asked.over_http(asgi=True),
            await asked.explained("http"),
        ]
        web_socket = [
            *await asked.over_http(asgi=False, web_socket=True),
            await asked.explained("ws"),
        ]
    location = kind.location and f"https{kind.location}"
    assert http == [Asked(kind.status, location, kind.forwarded)] * 5
    location = kind.location and f"wss{kind.location}"
    assert web_socket == [Asked(kind.status, location, kind.forwarded)] * 3


def decisions(paths: Mapping[bytes, OwnPath]) -> Decisions:
    """Decisions with a route for a.test and these paths of the proxy's own."""
    balancer = Balancer(random=lambda: 0.0, clock=lambda: 0.0)
    return Decisions(
        routes=FixedRoutes("http://127.0.0.1:9", host=b"a.test"),
        options=balancer.options,
        examine=lambda request, route, protection: None,
        overload=Overload(0.0, lambda: 0.0),
        paths=paths,
    )


@pytest.mark.parametrize(
    ("target", "own"), [(b"/own/x", True), (b"/owner", False), (b"/none/x", False), (b"/", False)]
)
def test_a_path_of_the_proxys_own_comes_before_the_route(target: bytes, own: bool) -> None:
    ours = OwnAnswer(200, b"mine")
    request = Request(b"GET", target, [(b"host", b"a.test")], Peer(None, None), "1.1", None)
    request.ours, request.record = [], AccessRecord(0.0)
    request.id_field = b"x-request-id", b"1"
    request.passing = STRANGERS
    paths: dict[bytes, OwnPath] = {b"/own/": lambda *_: ours, b"/none/": lambda *_: None}
    decision = decisions(paths).decide(request)
    assert decision is ours if own else isinstance(decision, Route)


@pytest.mark.parametrize("own", [OwnAnswer(200, b"mine"), None])
async def test_a_path_that_has_to_be_asked_for_is_awaited_before_the_route(
    own: OwnAnswer | None,
) -> None:
    async def asked() -> OwnAnswer | None:
        return own

    request = Request(b"GET", b"/own/x", [(b"host", b"a.test")], Peer(None, None), "1.1", None)
    request.ours, request.record = [], AccessRecord(0.0)
    request.id_field = b"x-request-id", b"1"
    request.passing = STRANGERS
    decision = await settled(decisions({b"/own/": lambda *_: asked()}).decide(request))
    assert decision is own if own else isinstance(decision, Route)
