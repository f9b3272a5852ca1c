"""The benchmark's own arithmetic, its byte-level WebSocket ends, and one small real run."""

import asyncio
import base64
import doctest
import json
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from bench import echo, procfs
from bench.compare import plot, report, results, targets
from bench.compare.__main__ import main
from bench.compare.load import Outcome, command, parse, parse_h2load
from bench.compare.needs import missing
from bench.compare.proxies import Caddy, known
from bench.compare.results import Sample, cpu_difference, cpu_ratio
from bench.compare.scenarios import ALL, BY_NAME, Http2Scenario, HttpScenario, Scenario
from bench.compare.sites import CONFIGS, fill_in
from bench.compare.ws_load import KEY, Load, frame, run
from bench.processes import BenchError
from bench.questions import budget, profile
from tests import processes
from tests.redis_servers import until

WRK_OUTPUT = """Running 1s test @ http://127.0.0.1:8080/small
  1 threads and 64 connections
  25061 requests in 1.00s, 6.50MB read

{"requests": 25061, "seconds": 1.000100, "p50_us": 2470.0, "p99_us": 5750.0, "errors": 3}
"""


H2LOAD_OUTPUT = """starting benchmark...
finished in 2.03s, 5450.00 req/s, 144.78KB/s
requests: 10900 total, 11060 started, 10900 done, 10890 succeeded, 7 failed, 2 errored, 1 timeout
status codes: 10890 2xx, 0 3xx, 7 4xx, 0 5xx
"""
H2LOAD_LOG = "1700000000000000\t200\t400\n1700000000000001\t200\t900\n1700000000000002\t200\t500\n"


def sample(
    proxy: str, cpu_us: float, *, turn: int = 0, scenario: str = "small_get", errors: int = 0
) -> Sample:
    return Sample(
        scenario=scenario, proxy=proxy, round=turn, requests=1000, seconds=0.5, cpu_us=cpu_us,
        busy=0.5, p50_us=1500, p99_us=2500, errors=errors, others=0.01,
    )  # fmt: skip


@pytest.mark.parametrize("module", [procfs, results, echo, profile, budget])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    outcome = doctest.testmod(module)  # type: ignore[arg-type]
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_every_part_of_the_budget_is_there_and_has_a_number_of_its_own() -> None:
    parts = list(budget.numbered())
    assert [number for number, _ in parts] == list(range(len(parts)))
    assert f"STAGE({len(parts) - 1})" in budget.SOURCE.read_text()
    for _, part in parts:
        assert callable(budget.found(part)[2]), part.place


def test_a_part_does_not_pay_for_its_inner_ones_nor_for_being_counted() -> None:
    costs = {number: (10, 10 * (100 - number)) for number, _ in budget.numbered()}
    rows = budget.budget(costs, total=10 * 1000, plain=1000 - 2 * len(costs), requests=10)
    assert sum(rows.values()) == pytest.approx(1000 - 2 * len(costs))
    assert rows["head of the request"] == 99


def test_the_generators_line_is_found_in_wrks_output() -> None:
    seen = Outcome(requests=25061, seconds=1.0001, p50_us=2470, p99_us=5750, errors=3)
    assert parse(WRK_OUTPUT) == seen


def test_h2loads_summary_and_log_are_read() -> None:
    seen = Outcome(requests=10890, seconds=2.03, p50_us=500, p99_us=900, errors=10)
    assert parse_h2load(H2LOAD_OUTPUT, H2LOAD_LOG) == seen
    with pytest.raises(BenchError, match="could not connect"):
        parse_h2load("could not connect", "")


def test_a_generator_that_counted_nothing_is_an_error() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1")


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_every_scenario_says_all_of_itself_on_the_command_line(
    scenario: Scenario,
) -> None:
    words = command(scenario, 8080, 3.0)
    assert f"-c{scenario.connections}" in words or str(scenario.connections) in words
    if isinstance(scenario, HttpScenario):
        assert words[-5:-2] == [scenario.method, str(scenario.body), str(scenario.hosts)]
    if isinstance(scenario, Http2Scenario):
        assert f":method: {scenario.method}" in words
        assert ("-d" in words) == bool(scenario.body)


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    samples = [
        *(sample("ours", cpu, turn=turn) for turn, cpu in enumerate([10, 40, 90])),
        *(sample("theirs", cpu, turn=turn) for turn, cpu in enumerate([10, 10, 45])),
    ]
    assert cpu_ratio(samples, ("small_get", "ours"), ("small_get", "theirs")) == 2.0


def test_a_difference_is_the_median_of_the_rounds() -> None:
    samples = [
        *(sample("on", cpu, turn=turn) for turn, cpu in enumerate([12, 45, 93])),
        *(sample("off", cpu, turn=turn) for turn, cpu in enumerate([10, 40, 90])),
    ]
    assert cpu_difference(samples, ("small_get", "on"), ("small_get", "off")) == 3


def test_a_ratio_to_what_was_not_measured_is_none() -> None:
    samples = [sample("ours", 10), sample("theirs", 10, turn=1)]
    assert cpu_ratio(samples, ("small_get", "ours"), ("small_get", "theirs")) is None


def test_the_table_compares_with_nginx_and_node_http_proxy() -> None:
    samples = [sample("nginx", 20), sample("node-http-proxy", 100), sample("hipache", 60)]
    assert report.scenario_table(samples, "small_get").splitlines()[-1] == (
        "| hipache | 60.0 | 2,000 | 1.50 | 2.50 | 50% | 0 | 3.00 | 0.60 |"
    )


def test_errors_of_all_rounds_are_shown_and_make_the_row_invalid() -> None:
    samples = [sample("nginx", 20, errors=1), sample("nginx", 20, turn=1, errors=2)]
    assert "**3: not valid**" in report.scenario_table(samples, "small_get")


def test_a_target_is_reached_at_its_limit_and_missed_above_it() -> None:
    at, above = sample("hipache", 80), sample("hipache", 81)
    nginx = sample("nginx", 20)
    assert "| ≤ 4 | 4.00 | yes |" in report.targets_table([at, nginx])
    assert "| ≤ 4 | 4.05 | **no** |" in report.targets_table([above, nginx])


def test_a_run_with_errors_reaches_no_target() -> None:
    samples = [sample("hipache", 1, errors=1), sample("nginx", 20)]
    assert "| not valid | **no** |" in report.targets_table(samples)


def test_a_target_that_was_not_measured_is_left_out() -> None:
    assert targets.verdicts([sample("nginx", 20)]) == []


def test_every_target_names_scenarios_that_exist() -> None:
    named = {
        side[0] for each in targets.TARGETS for side in (each.over, each.under, each.minus) if side
    }
    assert named <= set(BY_NAME)


def test_a_busy_machine_is_named() -> None:
    quiet = sample("nginx", 20)
    assert "Disturbed" not in report.disturbance([quiet])
    busy = Sample(**{name: getattr(quiet, name) for name in quiet.__slots__} | {"others": 0.2})
    assert "Disturbed" in report.disturbance([quiet, busy])


def test_the_plots_bars_are_to_scale_within_a_panel() -> None:
    picture = ElementTree.fromstring(plot.bars([sample("nginx", 20), sample("hipache", 60)]))
    bars = [float(bar.get("width", 0)) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars[2] / bars[1] == pytest.approx(3, abs=0.01)
    assert max(bars[1:]) < plot.PANEL_WIDTH


@pytest.mark.parametrize("template", sorted(path.name for path in CONFIGS.iterdir()))
def test_a_configuration_is_filled_in_completely(template: str, tmp_path: Path) -> None:
    names = ["PORT", "BACKEND", "ECHO", "INNER", "SMALL", "HOSTS", "HTTP2"]
    names += ["ECHO_HOST", "CADDY_HOSTS"]
    filled = fill_in(template, tmp_path, **dict.fromkeys(names, "1")).read_text()
    assert "@" not in filled


def test_a_missing_program_is_named() -> None:
    assert missing({"sh", "no-such-program"}) == {"no-such-program"}


def test_both_caddies_are_measured_in_one_run(tmp_path: Path) -> None:
    for name, release in [("pypi", "2.11"), ("debian", "2.6")]:
        program = tmp_path / name / "caddy"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho {release}\n")
        program.chmod(0o755)
    pypi = Caddy(folders=str(tmp_path / "pypi"))
    debian = Caddy("caddy-debian", folders=f"{tmp_path}/none:{tmp_path}/debian")
    assert [pypi.version(), debian.version()] == ["caddy 2.11", "caddy 2.6"]
    assert pypi.absent() is debian.absent() is None
    assert Caddy(folders=str(tmp_path)).absent() == f"caddy is not in {tmp_path}"
    assert {"caddy", "caddy-debian"} <= set(known())


@pytest.mark.parametrize("cut", range(1, 26))
def test_the_echo_unmasks_frames_however_they_arrive(cut: int) -> None:
    masked = bytes.fromhex("8183010203046062638185ffffff00010203040588800a0b0c0d")
    frames = echo.Unmasker()
    assert frames.feed(masked[:cut]) + frames.feed(masked[cut:]) == bytes.fromhex(
        "81036160608105fefdfc04fa8800"
    )
    assert frames.closed


@asynccontextmanager
async def listening(protocol: type[asyncio.Protocol]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("size", [0, 64, 126, 65536])
async def test_the_load_counts_every_echo(size: int) -> None:
    async with listening(echo.Echo) as port:
        seen = await run(port, Load(b"echo.example", size, in_flight=2), 3, 0.05)
    assert seen["errors"] == 0
    assert seen["requests"] >= 6


class LyingEcho(echo.Echo):
    """Changes the last byte of what it sends back."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data[:-1] + b"y" if data.endswith(b"x") else data)


class Refusing(asyncio.Protocol):
    """Answers the handshake with 503."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", [LyingEcho, Refusing])
async def test_the_load_counts_a_wrong_echo_and_a_refusal(server: type[asyncio.Protocol]) -> None:
    async with listening(server) as port:
        seen = await run(port, Load(b"echo.example", 64, in_flight=2), 3, 0.05)
    assert (seen["requests"], seen["errors"]) == (0, 3)


def test_the_loads_handshake_key_is_one() -> None:
    assert len(base64.b64decode(KEY, validate=True)) == 16


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, "827d"),
        (126, "827e007e"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
    ],
)
def test_a_frames_length_is_written_in_its_shortest_form(size: int, head: str) -> None:
    assert frame(size, masked=False) == bytes.fromhex(head) + b"x" * size


def test_two_runs_of_one_program_are_measured_and_reported(tmp_path: Path) -> None:
    assert main(["--smoke", "--rounds", "2", "--seconds", "0.2", "--results", str(tmp_path)]) == 0
    samples = json.loads((tmp_path / "results.json").read_text())["samples"]
    assert [each["proxy"] for each in samples] == ["direct-a", "direct-b", "direct-b", "direct-a"]
    assert all(each["requests"] > 0 and each["errors"] == 0 for each in samples)
    assert sum(each["cpu_us"] for each in samples) > 0
    page = (tmp_path / "results.md").read_text()
    assert "direct-b" in page
    assert f"- python: {platform.python_version()} of " in page
    assert "direct-b" in (tmp_path / "results.svg").read_text()


def test_a_thread_that_waits_is_not_in_the_profile() -> None:
    stacks = "run;Condition.wait (threading.py:295) 90\nrun;parse (head.py:1) 10"
    assert profile.summary(stacks, top=5).splitlines()[2:] == ["| parse (head.py:1) | 100.0% |"]


def test_an_unknown_scenario_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "small_gets"]) == 2
    assert "small_gets" in capsys.readouterr().err


async def test_a_comparison_that_is_told_to_end_takes_its_servers_along(tmp_path: Path) -> None:
    long = ("--smoke", "--seconds", "60", "--results", str(tmp_path))
    async with processes.command("bench.compare", *long, cwd=processes.ROOT) as comparing:
        family = psutil.Process(comparing.pid)
        await until(lambda: len(family.children()) >= 4, seconds=30)  # echo, two of it, the load
        servers = family.children(recursive=True)
        comparing.signal(signal.SIGTERM)
        assert await comparing.ended() == 128 + signal.SIGTERM
    try:  # the last of them were killed just now
        await until(lambda: not any(map(processes.runs, servers)))
    finally:
        for each in filter(processes.runs, servers):
            each.kill()
