"""When failures are the fault of a backend: a clock of our own, and every kind of visitor."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from random import Random

import pytest

from app.balancing import evidence as module
from app.balancing.evidence import AGE, FEWEST, MORE, Evidence
from app.balancing.grounds import Grounds
from app.balancing.samples import MAX_CLIENTS, PER_CLIENT, Sample

KEY, A, B, C = "www.example.com", "http://a", "http://b", "http://c"
PAGES = ("/", "/news", "/shop?item=1", "/shop?item=2", "/help")
VISITORS = ("v1", "v2", "v3")


class Site:
    """One frontend whose clock runs `every` seconds from request to request."""

    def __init__(self, every: float = 0.01) -> None:
        self.evidence = Evidence()
        self.now = 1000.0
        self.every = every
        self.marked: set[str] = set()
        self.only_backups = False
        self.found: dict[str, Grounds] = {}

    def ask(self, url: str, target: str, client: str, *, fails: bool) -> None:
        """One request that `url` gets, and how it ends."""
        self.now += self.every
        path = target.partition("?")[0]
        sample = Sample(self.now, hash(client), hash(path), hash(target), fails)
        if not fails:
            window = self.evidence.windows.get(KEY)
            tally = window.tallies.get(url) if window is not None else None
            if window is not None and (tally is None or not tally.skips(self.now)):
                self.evidence.answered(KEY, url, sample)
        elif grounds := self.evidence.failed(
            KEY, url, sample, self.marked, only_backups=self.only_backups
        ):
            self.found.setdefault(url, grounds)

    def ordinary(self, *urls: str, sick: str = "", seed: int = 1) -> Iterator[None]:
        """Visitors go from page to page, at random; `sick` answers none of them well."""
        random = Random(seed)
        while True:
            url = random.choice(urls)
            self.ask(url, random.choice(PAGES), random.choice(VISITORS), fails=url == sick)
            yield


def run(requests: Iterator[None], times: int) -> None:
    for _ in range(times):
        next(requests)


@pytest.mark.parametrize("seed", range(20))
def test_a_sick_backend_is_found_within_a_second_of_load(seed: int) -> None:
    site = Site(every=0.02)
    run(site.ordinary(A, B, C, sick=B, seed=seed), 50)
    assert list(site.found) == [B]


@pytest.mark.parametrize("seed", range(20))
def test_one_that_was_sound_until_now_is_found_as_soon(seed: int) -> None:
    site = Site(every=0.005)
    site.ask(A, "/broken", "v1", fails=True)
    run(site.ordinary(A, B, C, seed=seed), 500)
    assert not site.found
    run(site.ordinary(A, B, C, sick=B, seed=seed), 200)
    assert list(site.found) == [B]


def test_on_a_quiet_site_it_is_found_by_and_by() -> None:
    site = Site(every=10.0)
    run(site.ordinary(A, B, sick=B), 25)
    assert list(site.found) == [B]


def test_grounds_say_what_was_seen() -> None:
    seen = Grounds(
        failed=6, asked=7, paths=3, clients=2, seconds=0.84, others_failed=0, others_asked=12
    )
    assert str(seen) == (
        "6 of 7 requests failed in 0.8 s (3 different, 2 clients), of other backends' 0 of 12"
    )
    lone = Grounds(
        failed=10, asked=10, paths=1, clients=1, seconds=2, others_failed=0, others_asked=5
    )
    assert "(all alike, 1 client)" in str(lone)


def test_one_page_that_fails_everywhere_blames_no_backend() -> None:
    site = Site()
    ordinary = site.ordinary(A, B)
    for url, client in zip(cycle([A, B, A, A]), VISITORS * 100, strict=False):
        site.ask(url, "/report", client, fails=True)
        next(ordinary)
    assert not site.found


def test_one_page_that_fails_at_one_backend_alone_blames_no_backend() -> None:
    site = Site()
    ordinary = site.ordinary(A, B)
    for client in VISITORS * 100:
        site.ask(A, "/report", client, fails=True)
        site.ask(B, "/report", client, fails=False)
        next(ordinary)
    assert not site.found


def test_one_visitor_with_many_bad_requests_blames_no_backend() -> None:
    site = Site()
    ordinary = site.ordinary(A, B)
    for number in range(300):
        site.ask((A, B)[number % 2], f"/bad/{number}", "attacker", fails=True)
        if number % 20 == 0:
            next(ordinary)
    assert not site.found


@pytest.mark.parametrize("seed", range(20))
def test_two_addresses_with_two_bad_pages_blame_no_backend(seed: int) -> None:
    random, site = Random(seed), Site(every=0.001)
    ordinary = site.ordinary(A, B, C, seed=seed)
    for number in range(3000):
        url, client = random.choice((A, B, C)), random.choice(("x1", "x2"))
        if number % 2:
            site.ask(url, random.choice(("/bad1", "/bad2")), client, fails=True)
        else:
            site.ask(url, "/good", client, fails=False)
        if number % 100 == 0:
            next(ordinary)
    assert not site.found


def test_who_can_choose_the_backend_of_each_request_gains_nothing_while_others_visit() -> None:
    """In turns: each bad request comes to A, each good one to B."""
    site = Site(every=0.001)
    visitors = cycle(VISITORS)
    for number in range(3000):
        client = ("x1", "x2")[number // 7 % 2]
        site.ask(A, ("/search?crash", "/find?crash")[number // 3 % 2], client, fails=True)
        site.ask(B, ("/search?fine", "/find?fine")[number // 3 % 2], client, fails=False)
        if number % 50 == 0:
            site.ask(A, "/", next(visitors), fails=False)
    assert not site.found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1.0])
def test_an_application_that_fails_behind_all_backends_alike_blames_none(
    share: float, seed: int
) -> None:
    random, site = Random(seed), Site()
    for _ in range(5000):
        page, visitor = random.choice(PAGES), random.choice(VISITORS)
        site.ask(random.choice((A, B)), page, visitor, fails=random.random() < share)
    assert not site.found


def test_a_lone_client_is_enough_if_the_neighbour_answers_it_well() -> None:
    site = Site(every=0.05)
    for number in range(2 * MORE):
        site.ask((A, B)[number % 2], PAGES[number // 2 % 5], "ci", fails=number % 2 == 1)
    assert list(site.found) == [B]
    assert site.found[B].clients == 1


def test_a_lone_client_is_not_enough_if_it_fares_badly_everywhere() -> None:
    site = Site(every=0.05)
    for number in range(20 * MORE):
        site.ask((A, B)[number % 2], PAGES[number % 5], "ci", fails=True)
    assert not site.found


def test_a_burst_of_one_client_proves_nothing_for_others_may_have_no_say_yet() -> None:
    site = Site(every=0.0001)
    for number in range(10 * MORE):
        site.ask((A, B)[number % 2], PAGES[number // 2 % 5], "ci", fails=number % 2 == 1)
    assert not site.found


def test_a_lone_client_that_asks_very_fast_is_enough_after_half_a_second() -> None:
    site = Site(every=0.001)
    for number in range(600):
        site.ask((A, B)[number % 2], PAGES[number // 2 % 5], "ci", fails=number % 2 == 1)
    assert list(site.found) == [B]


def test_one_success_clears_a_backend_of_what_a_lone_client_says() -> None:
    site = Site(every=0.05)
    site.ask(B, "/broken", "ci", fails=True)
    site.ask(B, "/", "ci", fails=False)
    for number in range(2 * MORE - 4):
        site.ask((A, B)[number % 2], PAGES[number // 2 % 5], "ci", fails=number % 2 == 1)
    assert not site.found


def test_where_everything_has_one_path_different_clients_are_enough() -> None:
    site = Site(every=0.05)
    for number in range(4 * MORE):
        site.ask((A, B)[number % 2], "/graphql", VISITORS[number // 2 % 3], fails=number % 2 == 1)
    assert list(site.found) == [B]
    assert site.found[B].paths == 1


@pytest.mark.parametrize("visitors", [2, 3, 4, 8])
def test_pages_that_are_all_different_are_compared_by_their_clients(visitors: int) -> None:
    random, site = Random(2), Site(every=0.02)
    for number in range(100):
        url, client = random.choice((A, B)), f"v{random.randrange(visitors)}"
        site.ask(url, f"/item/{number}", client, fails=url == B)
    assert list(site.found) == [B]


def test_clients_that_stay_at_their_backend_are_compared_all_together() -> None:
    site = Site()
    for number in range(100):
        client = number % 10
        site.ask((A, B)[client % 2], f"/item/{number}", f"v{client}", fails=client % 2 == 1)
    assert list(site.found) == [B]


def test_a_backend_that_is_marked_is_no_neighbour_to_compare_with() -> None:
    site = Site()
    site.marked = {A}
    run(site.ordinary(A, B, sick=B), 100)
    assert not site.found


@pytest.mark.parametrize(
    ("clients", "good_at", "found"),
    [
        pytest.param(4, -1, [A], id="nobody of many clients is answered well"),
        pytest.param(2, -1, [], id="two addresses may be one visitor"),
        pytest.param(4, 7, [], id="something works still"),
    ],
)
def test_a_primary_backend_gives_way_to_its_backups(
    clients: int, good_at: int, found: list[str]
) -> None:
    site = Site()
    site.only_backups = True
    for number in range(3 * MORE):
        site.ask(A, PAGES[number % 5], f"v{number % clients}", fails=number % MORE != good_at)
    assert list(site.found) == found
    assert all("there are only backups beside it" in str(seen) for seen in site.found.values())


def test_the_first_failures_are_not_enough() -> None:
    site = Site()
    for number in range(FEWEST - 1):
        site.ask(B, PAGES[number], VISITORS[number % 3], fails=True)
        for client in VISITORS:
            site.ask(A, PAGES[number], client, fails=False)
    assert not site.found
    site.ask(B, "/help", "v1", fails=True)
    assert list(site.found) == [B]


def test_old_failures_are_forgotten() -> None:
    site = Site(every=0.0)
    for number in range(FEWEST * 2):
        site.now += AGE / 3
        site.ask(B, PAGES[number % 5], VISITORS[number % 3], fails=True)
        for client in VISITORS:
            site.ask(A, PAGES[number % 5], client, fails=False)
    assert not site.found


def test_a_body_that_breaks_off_was_no_good_answer() -> None:
    site, random = Site(), Random(4)
    for _ in range(60):
        page, visitor, url = random.choice(PAGES), random.choice(VISITORS), random.choice((A, B))
        site.ask(url, page, visitor, fails=False)
        if url == B:
            site.evidence.take_back(KEY, B, hash(visitor), hash(page))
            site.ask(B, page, visitor, fails=True)
    assert list(site.found) == [B]
    assert site.found[B].failed == site.found[B].asked


def test_good_answers_leave_nothing_behind() -> None:
    site = Site()
    run(site.ordinary(A, B), 100)
    assert not site.evidence.windows
    site.ask(A, "/", "v1", fails=True)
    assert site.evidence.windows
    site.now += AGE + 1
    run(site.ordinary(A, B), 1)
    assert not site.evidence.windows


def test_a_mark_begins_anew_and_the_last_one_takes_the_window_with_it() -> None:
    site = Site()
    run(site.ordinary(A, B, sick=B), 20)
    site.evidence.forget(KEY, B)
    assert list(site.evidence.windows[KEY].tallies) == [A]
    site.evidence.forget(KEY, A)
    assert not site.evidence.windows
    site.evidence.forget(KEY, A)


def test_memory_is_bounded_in_every_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMORY", 50)
    evidence, now = Evidence(), 1000.0
    for number in range(20_000):
        now += 0.001
        key, url = f"site{number % 97}", f"http://{number % 1009}"
        sample = Sample(now, number % 13, number, number, number % 3 != 0)
        if sample.failed:
            evidence.failed(key, url, sample, ())
        elif key in evidence.windows:
            evidence.answered(key, url, sample)
    tallies = [tally for window in evidence.windows.values() for tally in window.tallies.values()]
    assert 0 < len(tallies) <= 50
    assert max(len(list(tally.since(0))) for tally in tallies) <= MAX_CLIENTS * PER_CLIENT


def test_of_a_long_list_the_failing_ones_are_remembered() -> None:
    site = Site()
    for number in range(200):
        url = f"http://{number}"
        site.ask(url, PAGES[number % 5], VISITORS[number % 3], fails=number == 0)
    for number in range(40):
        site.ask("http://sick", PAGES[number % 5], VISITORS[number % 3], fails=True)
        site.ask(f"http://{number % 16}", PAGES[number % 5], VISITORS[number % 3], fails=False)
    assert list(site.found) == ["http://sick"]
