"""The dashboard over HTTP, without a browser: what a page has, who may see it, what forms do."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from urllib.parse import quote

import httpx
from markupsafe import escape

from tests.admin.dashboard.serving import HOSTILE, TOKEN, dashboard, form_token, logged_in
from tests.processes import Service
from tests.redis_servers import RedisServer

PATHS = ("/", "/frontends", "/failures", "/certificates", "/explain", "/failure?id=none")
ADDED = "http://127.0.0.1:7"


async def test_it_shows_what_goes_on_and_changes_nothing_without_a_token(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with (
        dashboard(tmp_path, valkey) as (_, base, backend, dead),
        httpx.AsyncClient(base_url=base, trust_env=False) as client,
    ):
        async with valkey.client as redis:
            await redis.hset("hipache:used", HOSTILE, str(time.time() - 7210))
        for path in PATHS:
            page = await client.get(path)
            assert page.status_code == 200, path
            assert page.headers["content-security-policy"].startswith("default-src 'self';")
            assert "<form method" not in page.text.replace('method="get"', ""), path
        overview = (await client.get("/")).text
        assert "Needs attention" in overview
        assert f'<bdi class="url">{dead}</bdi> of <a href="/frontend?key=a.test">' in overview
        every = (await client.get("/frontends?sort=total")).text
        assert every.index(">a.test<") < every.index(">broken.test<") < every.index("&lt;b&gt;")
        assert "1 of 2 down" in every
        last = re.findall(r'data-label="Last used"[^>]*>([^<]*)<', every)
        assert (last[-1], len(last)) == ("2 h 0 min ago", 3)
        for sort, order in (("used", "descending"), ("idle", "ascending")):
            found = (await client.get(f"/frontends?sort={sort}")).text
            assert re.search(f'aria-sort="{order}"[^>]*><a [^>]*>Last used<', found), sort
        assert HOSTILE not in every
        assert str(escape(HOSTILE)) in every
        one = (await client.get(f"/frontend?key={quote(HOSTILE)}")).text
        assert HOSTILE not in one
        assert backend.url in one
        failures = (await client.get("/failures?host=broken.test")).text
        assert "token=…" in failures
        assert "secret" not in failures
        story = re.search(r"/failure\?id=(\w+)", failures)
        assert story is not None
        assert "connection refused" in (await client.get(f"/failure?id={story[1]}")).text
        told = (await client.get("/explain?url=http://a.test/")).text
        assert f"{dead} dead" in re.sub(r"\s+", " ", told)
        refused = await client.post("/frontend?key=a.test", data={"step": "shut"})
        assert (refused.status_code, "admin.write is false" in refused.text) == (422, True)
        async with client.stream("GET", "/live?page=/frontend&key=a.test") as events:
            async for line in events.aiter_lines():
                if line.startswith("data: <h1>"):
                    assert "a.test" in line
                    break
        assert (await client.get("/live?page=/metrics")).status_code == 404
        async with valkey.client as redis, redis.pipeline(transaction=False) as pipe:
            for number in range(5_100):
                pipe.rpush(f"frontend:more{number}.test", "id", backend.url)
            await pipe.execute()
        assert (await client.get("/frontends?page=2")).status_code == 200  # it is `n`
        for query, rows in (("n=900", 50), ("filter=more5099", 1)):  # the last page is the 100th
            many = (await client.get(f"/frontends?{query}")).text
            assert many.count('data-label="State"') == rows
            assert ("the first 5,000 can be seen here" in many) is (rows == 50)
            assert ("Page 100 of 100" in many) is (rows == 50)


async def test_only_who_has_the_token_sees_it(tmp_path: Path, valkey: RedisServer) -> None:
    async with (
        dashboard(tmp_path, valkey, token=TOKEN, write=True) as (service, base, backend, dead),
        httpx.AsyncClient(base_url=base, trust_env=False) as stranger,
        logged_in(base) as friend,
    ):
        for path in PATHS:
            sent = await stranger.get(path)
            assert sent.status_code == 303, path
            assert sent.headers["location"] == f"/login?to={quote(path, safe='')}"
        for path in ("/live?page=/", "/api/workers", "/metrics"):
            assert (await stranger.get(path)).status_code == 401
        for path in ("/api/workers", "/metrics"):  # a cookie is for the dashboard only
            assert (await friend.get(path)).status_code == 401
        wrong = await stranger.post("/login", data={"token": "guessed"})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
            there = await stranger.post(f"/login?to={quote(target)}", data={"token": TOKEN})
            assert there.headers["location"] == "/"
            assert "HttpOnly" in there.headers["set-cookie"]
            assert "SameSite=strict" in there.headers["set-cookie"]
        stranger.cookies.clear()
        await forms_change_a_site(service, friend, backend.url, dead)
        await friend.post("/logout")
        assert (await friend.get("/")).url.path == "/login"
        late = await friend.post("/frontend?key=a.test", data={"step": "shut"})  # another window's
        assert str(late.url).endswith("/login?to=%2Ffrontend%3Fkey%3Da.test")


async def forms_change_a_site(
    service: Service, client: httpx.AsyncClient, url: str, dead: str
) -> None:
    async def page() -> str:
        return (await client.get("/frontend?key=a.test")).text

    async def take(step: str, **fields: str) -> httpx.Response:
        fields = {"form": form_token(await page()), "step": step, **fields}
        return await client.post("/frontend?key=a.test", data=fields)

    assert b" 200 " in await service.ask("a.test")
    told = {
        "drain": {"url": dead}, "undrain": {"url": dead}, "weight": {"url": url, "weight": "3"},
        "set": {"name": "policy", "value": "least_conn"}, "unset": {"name": "policy"},
        "add": {"url": ADDED}, "remove": {"url": ADDED},
        "pause": {"seconds": "1"}, "resume": {}, "revive": {"url": dead},
        "shut": {"message": "Back <soon>", "retry": "60", "allow": "192.0.2.0/24"},
    }  # fmt: skip
    for step, fields in told.items():
        done = await take(step, **fields)
        assert 'class="message good"' in done.text, (step, done.text)
        async with asyncio.timeout(10):  # nobody asks for the site meanwhile
            while (f'id="backend-{ADDED}"' in await page()) is not (step == "add"):
                pass
    await answers(service, b" 503 ")
    shut = '<span class="state warn">maintenance</span> <a href="/frontend?key=a.test">'
    async with asyncio.timeout(60):
        while shut not in (await client.get("/")).text:  # no failure that somebody must mend
            await service.ask("a.test")
    undone = await take("undo")
    assert "as it was before its last change" in undone.text
    shut = re.search(r"dashboard from 127\.0\.0\.1.*?</tr>", undone.text, re.S)
    assert shut is not None
    wrong = {
        "weight": {"url": url, "weight": "heavy"}, "add": {"url": "no url"}, "set": {"name": "x"},
        "pause": {"seconds": "0"}, "drain": {"url": "http://nowhere"}, "shut": {"retry": "soon"},
        "explode": {},
    }  # fmt: skip
    for step, fields in wrong.items():
        refused = await take(step, **fields)
        assert (refused.status_code, 'class="message bad"' in refused.text) == (422, True), step
        typed = [value for name, value in fields.items() if name != "url" or step == "add"]
        assert all(f'value="{value}"' in refused.text for value in typed if step != "weight"), step
    forged = await client.post("/frontend?key=a.test", data={"form": "x", "step": "shut"})
    assert forged.status_code == 422
    origin = {"origin": "http://evil.example"}
    data = {"form": form_token(await page()), "step": "shut"}
    foreign = await client.post("/frontend?key=a.test", data=data, headers=origin)
    assert "not from here" in foreign.text
    await answers(service, b" 200 ")


async def answers(service: Service, status: bytes) -> None:
    """Until the worker has heard of the change."""
    async with asyncio.timeout(10):
        while status not in await service.ask("a.test"):
            pass
