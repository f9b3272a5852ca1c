"""The dashboard in Chromium, with mouse and keyboard, in both colours and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright, expect

from tests.admin.dashboard.serving import TOKEN, dashboard
from tests.redis_servers import RedisServer

CHROMIUM = shutil.which("chromium")
PATHS = (
    "/", "/frontends", "/frontends?sort=idle", "/frontend?key=a.test", "/failures", "/certificates",
    "/explain?url=http://a.test/",
)  # fmt: skip

LISTS = [
    '<ul><li><b>dead</b> <i>x</i> of <a href="/a">a</a> why</li></ul>',
    '<ul><li><b>fails</b> <a href="/b">b</a>: 5 %</li><li>more</li></ul>',
    "<p>none</p>",
    '<ul><li id="one"><b>fails</b> c</li></ul><p>text</p>',
]
"""Changing parts of a page, one after the other."""

expect.set_options(timeout=20_000)  # milliseconds: a busy machine is slow, and nothing else
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not there: Debian's package chromium has it"
)


@asynccontextmanager
async def browsing(base: str, width: int = 1280, scheme: str = "light") -> AsyncIterator[Page]:
    """A window of somebody who types the token; no script may fail, nothing be blocked."""
    said: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        context = await browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page = await context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
        await page.goto(base)
        await expect(page.get_by_label("Token")).to_be_focused()
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        yield page
        await browser.close()
    refused = "Failed to load resource: the server responded with a status of 422"
    assert [line for line in said if not line.startswith(refused)] == []


async def is_sound(page: Page, path: str) -> None:
    """Nothing that axe calls serious, and nothing wider than the window."""
    found = await Axe().run(page)
    grave = [
        (each["id"], each["nodes"][0]["html"])
        for each in found.response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert grave == [], path
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) <= 0, path


async def test_a_person_finds_what_is_wrong_and_takes_it_out(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """By keyboard alone."""
    async with (
        dashboard(tmp_path, valkey, token=TOKEN, write=True) as (service, base, backend, dead),
        browsing(base) as page,
    ):
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.get_by_role("listitem").get_by_role("link", name="a.test").first.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("a.test")
        await is_sound(page, "/frontend")
        await page.get_by_role("button", name=f"Drain {dead}", exact=True).focus()
        await page.keyboard.press("Enter")
        done = page.get_by_text(f"{dead} is drained")
        await expect(done).to_be_visible()
        await page.get_by_label("What visitors are told").fill("half a sente")
        live = page.get_by_text("Live: updated every two seconds")
        await expect(live).to_be_visible()
        row = page.get_by_role("row").filter(has_text=backend.url).first
        await service.ask("a.test")  # what is typed stays while the figures change
        await expect(row.locator("[data-label='Answers/s']")).not_to_have_text("0")
        await expect(page.get_by_label("What visitors are told")).to_have_value("half a sente")
        await expect(done).to_be_visible()
        await every_button_does_what_it_says(page, backend.url, dead)
        for path in PATHS:
            await page.goto(base + path)
            await is_sound(page, path)
        await page.goto(base + "/failures")
        await page.locator("summary").filter(has_text="http://broken.test/page?token=…").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Request ").first.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("connection refused").first).to_be_visible()
        await is_sound(page, "/failure")
        await page.goto(base)
        for now in [*LISTS, *reversed(LISTS)]:  # what changes is shown whole
            await page.evaluate("html => { events.close(); show(html); }", now)
            assert await page.locator("#main").inner_html() == now
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_focused()


async def every_button_does_what_it_says(page: Page, url: str, dead: str) -> None:
    """On the page of a site whose backend `dead` is drained."""

    async def press(name: str, said: str) -> None:
        await page.get_by_role("button", name=name, exact=True).click()
        await expect(page.locator("[data-still] > .message")).to_have_text(said)

    await press(f"Undrain {dead}", f"{dead} serves again.")
    await page.get_by_label(f"More for {url}").click()
    more = page.locator("details[open]")
    await more.get_by_label("Weight").fill("heavy")
    await more.get_by_role("button", name="Set").click()
    await expect(page.get_by_role("alert")).to_contain_text("'heavy' is no number")
    await page.get_by_label("What visitors are told").fill("back soon")
    await page.get_by_label("They may come again after").fill("soon")
    await press("Shut the site", "come again after: expected whole seconds")
    await expect(page.get_by_label("What visitors are told")).to_have_value("back soon")
    await page.get_by_label("They may come again after").fill("60")
    await press("Shut the site", "a.test is under maintenance.")
    await press("Open the site", "a.test is open again.")
    await press("Pause", "a.test is paused: requests wait.")
    await press("Let the requests go on", "a.test goes on.")
    await page.get_by_label("Option", exact=True).fill("policy")
    await page.get_by_label("Value", exact=True).fill("random")
    await page.locator("#options ~ form").get_by_role("button").click()
    await expect(page.get_by_role("status").first).to_have_text("a.test has its new option.")
    await press("Remove the option policy", "a.test has one option less.")
    await press("Undo the last change", "a.test is as it was before its last change.")


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_every_page_is_for_everybody(
    tmp_path: Path, valkey: RedisServer, width: int, scheme: str
) -> None:
    async with (
        dashboard(tmp_path, valkey, token=TOKEN, write=True) as (_, base, _, _),
        browsing(base, width, scheme) as page,
    ):
        for path in PATHS:
            await page.goto(base + path)
            await is_sound(page, path)
