"""What `hipache top` shows on a terminal of a given size, and what its keys do."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from app.commands.top_keys import TopKeys
from app.commands.top_screen import SORTS, TopView, screen

NOW = 1_000_000.0


def histogram(count: int, slow: bool = False) -> dict[str, object]:
    return {"sum": 1.0, "bounds": [0.1, 1.0], "counts": [0, count, 0] if slow else [count, 0, 0]}


def frontend(number: int, requests: int) -> dict[str, object]:
    return {
        "frontend": f"site-{number:03}.example.com", "others": False,
        "requests": {"2xx read": requests, "5xx read": number}, "bytes_in": 0, "bytes_out": 5 << 20,
        "duration": histogram(requests, slow=number == 3),
    }  # fmt: skip


def backend(number: int, state: str = "live") -> dict[str, object]:
    return {
        "frontend": f"site-{number:03}.example.com", "backend": f"http://10.0.0.{number}:8080",
        "in_flight": 0, "unanswered": 0, "bad": 0, "time_to_head": histogram(0), "state": state,
        "reason": "cannot connect to the backend: Connection refused" if state == "dead" else None,
    }  # fmt: skip


def worker(number: int) -> dict[str, object]:
    return {
        "worker": number, "pid": 4_000_000 + number, "state": "serving", "started": NOW - 90_000,
        "memory": 60 << 20, "loop_lag": 0.001, "requests": 10, "in_flight": 1, "connections": 2,
        "web_sockets": 0,
    }  # fmt: skip


def shown(view: TopView, *, sites: int = 40, workers: int = 8) -> list[str]:
    after = {
        "workers": [worker(number) for number in range(workers)],
        "frontends": [frontend(number, 10 * number) for number in range(sites)],
        "backends": [backend(n, "dead" if n == 7 else "live") for n in range(sites)],
    }  # fmt: skip
    before: dict[str, list[object]] = {"workers": [], "frontends": [], "backends": []}
    console = Console(width=min(int(min(view.width, 500)), 500), color_system=None)
    with console.capture() as printed:
        console.print(screen(before, after, 1.0, NOW, view))
    return [line.rstrip() for line in printed.get().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (80, 10), (60, 24)])
@pytest.mark.parametrize("workers", [1, 8])
def test_it_fits_the_terminal(width: int, height: int, workers: int) -> None:
    lines = shown(TopView(width=width, height=height, footer="q quit"), workers=workers)
    assert len(lines) <= max(height, 12)
    assert max(map(len, lines)) <= width
    assert lines[-1].startswith("q quit")
    for head in ("WORKER", "FRONTEND"):
        assert any(line.startswith(head) for line in lines)


def test_a_small_terminal_leaves_out_what_matters_least() -> None:
    small = shown(TopView(width=80, height=24))
    wide = shown(TopView(width=160, height=50))
    assert "why" not in "\n".join(small)
    assert any("cannot connect to the backend" in line for line in wide)
    assert "25 h 0 min" in small[2]
    assert [line for line in small if line.startswith("and ")] == [
        "and 5 more", "and 33 more", "and 34 more",
    ]  # fmt: skip


def test_nothing_is_cut_where_there_is_no_terminal() -> None:
    lines = shown(TopView())
    assert sum("http://10.0.0." in line for line in lines) == 40
    assert not any("…" in line or line.startswith("and ") for line in lines)


def first(view: TopView, column: str) -> str:
    lines = shown(view)
    (head,) = (n for n, line in enumerate(lines) if re.match(rf"FRONTEND .* {column} ", line))
    return lines[head + 1].split()[0]


@pytest.mark.parametrize(
    ("sort", "frontends", "backends"),
    [
        ("requests", "site-039.example.com", "site-007.example.com"),  # the dead one
        ("errors", "site-039.example.com", "site-000.example.com"),
        ("p99", "site-003.example.com", "site-000.example.com"),
        ("name", "site-000.example.com", "site-000.example.com"),
    ],
)
def test_it_sorts(sort: str, frontends: str, backends: str) -> None:
    assert first(TopView(sort), "req/s") == frontends
    assert first(TopView(sort), "ans/s") == backends


def test_it_filters_frontends_and_backends() -> None:
    lines = shown(TopView(filter="10.0.0.12:"))
    assert sum("site-" in line for line in lines) == 1
    lines = shown(TopView(filter="site-012"))
    assert sum("site-012" in line for line in lines) == sum("site-" in line for line in lines) == 2


def typed(text: str) -> TopKeys:
    keys = TopKeys()
    for each in text:
        keys.press(each)
    return keys


def test_keys_sort_filter_and_quit() -> None:
    assert [typed("s" * number).sort for number in range(5)] == [*SORTS, SORTS[0]]
    keys = typed("/Shopq\x7f")
    assert (keys.filter, keys.typing, keys.over) == ("Shop", True, False)
    assert keys.footer.startswith("filter: Shop_")
    keys.press("\r")
    assert keys.footer.endswith("only 'Shop' (Esc: all)")
    keys.press("\x1b")
    assert keys.filter == ""
    assert typed("/a\x1b").filter == ""
    assert typed("/\x00\x07").filter == ""
    assert len(typed("/" + 100 * "x").filter) == 60
    assert typed("q").over
