"""A store of a dictionary."""

import pytest

from app.errors import FrontendNotFound
from app.routing import Mark
from app.stores.table import TableError
from app.testing import DictRoutes

URL = "http://127.0.0.1:8001"


async def test_hosts_wildcards_and_prefixes_are_found() -> None:
    routes = DictRoutes({"www.example.com": [URL], "*.example.com": [URL]})
    routes.set("www.example.com/api", URL, options={"strip": "on"})
    assert (await routes.find("www.example.com", b"/x")).frontend.key == "www.example.com"
    assert (await routes.find("www.example.com", b"/api/x")).frontend.key == "www.example.com/api"
    assert (await routes.find("a.example.com")).frontend.key == "*.example.com"
    with pytest.raises(FrontendNotFound):
        await routes.find("example.org")


async def test_a_change_counts_at_once_and_a_route_stays_the_same_until_then() -> None:
    routes = DictRoutes({"www.example.com": [URL]})
    before = await routes.find("www.example.com")
    assert await routes.find("www.example.com") is before
    routes["www.example.com"] = [URL, "http://127.0.0.1:8002"]
    assert len((await routes.find("www.example.com")).frontend.backends) == 2
    assert routes["WWW.example.com."].backends[0] == URL
    del routes["www.example.com"]
    assert not routes


async def test_marks_come_and_go() -> None:
    routes = DictRoutes({"www.example.com": [URL]})
    frontend = (await routes.find("www.example.com")).frontend
    mark = Mark(until=2.0, since=1.0, reason="refused", by="test")
    routes.mark_dead(frontend, frontend.backends[0], mark)
    assert (await routes.find("www.example.com")).marks == {URL: mark}
    assert routes.marks("www.example.com") == {URL: mark}
    routes.clear_mark(frontend, frontend.backends[0])
    assert (await routes.find("www.example.com")).marks == {}


@pytest.mark.parametrize("backends", [["ftp://shop"], [URL, URL]], ids=["no URL", "twice"])
def test_what_no_store_would_take_is_refused(backends: list[str]) -> None:
    with pytest.raises(TableError):
        DictRoutes({"www.example.com": backends})


def test_a_text_is_no_list_of_urls() -> None:
    with pytest.raises(TypeError, match="found a string"):
        DictRoutes()["www.example.com"] = URL
