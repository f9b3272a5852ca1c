"""Certificates that expire soon, claims of one machine, and the page's own receiver."""

from __future__ import annotations

import http.client
import http.server
import json
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.alerts import watching
from app.alerts.alert_events import AlertEvent, fields_of, message_of
from app.alerts.watching import SOON, of_certificate, watch_certificates
from app.config.alerts import Alert, AlertURL
from app.config.structs import parse
from app.fields.headers import RawHeaders
from app.stores.issuance import IssuanceState
from app.system import machine_claims
from app.system.machine_claims import MachineClaims
from tests.redis_servers import RedisServer
from tests.tls.authority import AUTHORITY, DEFAULT, chain, write


class Enough(Exception):
    """All that was expected was told."""


async def test_certificates_of_files_and_of_the_store_are_looked_at(
    valkey: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "FIRST_LOOK", 0.0)
    soon = AUTHORITY.issue_cert("soon.test", not_after=datetime.now(UTC) + timedelta(days=1))
    write(tmp_path, "default", DEFAULT)
    write(tmp_path, "soon", soon)
    async with valkey.client as redis:
        await redis.hset("tls:soon.test", mapping={"certificate": chain(soon), "key": "secret"})
        state = IssuanceState(error="the CA is busy", failures=(1.0,))
        await redis.set("acme:state:new.test", json.dumps({"error": state.error}))
    https = {"bind": "::", "certs": str(tmp_path), "acme": {"agree": True}}
    https |= {"cert": f"{tmp_path}/default.crt", "key": f"{tmp_path}/default.key"}
    config = parse(json.dumps({"driver": valkey.url, "https": https}))
    told: list[tuple[str, str]] = []

    def tell(event: AlertEvent, look: object) -> None:
        told.append((event.subject, event.state))
        if event.state == "not ordered":
            raise Enough

    async def claim(name: str, seconds: float, *, everywhere: bool) -> bool:
        return True

    with pytest.raises(Enough):
        await watch_certificates(config, tell, claim)
    assert told == [
        (f"{tmp_path}/soon.crt", "expires"),
        ("tls:soon.test", "expires"),
        ("tls:new.test", "not ordered"),
    ]


@pytest.mark.parametrize(
    ("until", "state"),
    [
        pytest.param(timedelta(days=40), None, id="far away"),
        pytest.param(timedelta(days=20), "expires", id="soon"),
        pytest.param(timedelta(days=-1), "expired", id="over"),
        pytest.param("no certificate in it", "unusable", id="broken"),
    ],
)
def test_what_is_told_of_a_certificate(until: timedelta | str, state: str | None) -> None:
    end = until if isinstance(until, str) else datetime.now(UTC) + until
    event = of_certificate("tls:a.test", end, SOON, everywhere=True)
    assert (event and event.state) == state
    if event is not None:
        assert event.as_json()["certificate"] == "tls:a.test"


def test_a_claim_of_one_machine_ends_with_its_time_and_outlives_who_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_claims, "memory_folder", lambda: tmp_path)
    assert MachineClaims("redis:").claim("dead", 60)
    assert not MachineClaims("redis:").claim("dead", 60)
    assert MachineClaims("redis:").claim("alive", 0)
    assert MachineClaims("redis:").claim("alive", 60)
    assert MachineClaims("redis://other").claim("dead", 60)
    for torn in (b"{", b"[]", b'{"dead": "?"}'):
        for file in tmp_path.iterdir():
            file.write_bytes(torn)
        assert MachineClaims("redis:").claim("dead", 60)
    monkeypatch.setattr(machine_claims, "memory_folder", lambda: tmp_path / "none")
    assert MachineClaims("redis:").claim("dead", 60)  # nobody is kept from telling


def test_the_receiver_on_the_page_believes_our_signature_and_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text("utf-8")
    program = textwrap.dedent(page[page.index("    import hmac") :])
    scope: dict[str, Any] = {}
    exec(program.partition("http.server.ThreadingHTTPServer")[0], scope)
    event = AlertEvent(kind="dead", subject="", state="dead", text="it is dead", at=1.0)
    body, now = message_of([event], lost=0, proxy="web1:1"), time.time()
    ours, strange = (
        Alert(url=AlertURL("http://127.0.0.1/"), secret=secret)
        for secret in ("change me please", "of another one")
    )
    with http.server.HTTPServer(("127.0.0.1", 0), scope["Receiver"]) as server:
        scope["Receiver"].log_message = lambda *_: None
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        statuses = [
            post(server.server_port, fields_of(alert, body, delivery="1", now=when), body)
            for alert, when in ((ours, now), (strange, now), (ours, now - 9000))
        ]
        server.shutdown()
        serving.join()
    assert statuses == [204, 403, 403]
    assert capsys.readouterr().out == "it is dead\n"


def post(port: int, fields: RawHeaders, body: bytes) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request("POST", "/", body, {name.decode(): value.decode() for name, value in fields})
    status = client.getresponse().status
    client.close()
    return status
