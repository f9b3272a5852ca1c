"""Which driver opens which URL, drivers of other packages too, and what a bad URL is answered."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from app.cli import main
from app.config.structs import Config, ServerConfig, parse
from app.errors import ConfigError
from app.main import create_app
from app.stores import driver_for, driver_of, open_store
from app.stores.drivers import BUILT_IN, shown
from app.stores.embedded.driver import EmbeddedDriver
from app.stores.file.driver import FileDriver
from app.stores.redis.driver import RedisDriver
from tests.backends import answer, answering
from tests.serving import serving

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("urls", "kind", "names"),
    [
        (["redis://:pw@h"], RedisDriver, ("redis://h:6379",)),
        (["REDIS://h"], RedisDriver, ("redis://h:6379",)),
        (["redis://a", "redis://b"], RedisDriver, ("redis://a:6379", "redis://b:6379")),
        (["embedded:"], EmbeddedDriver, ("embedded:.hipache",)),
        (["embedded:/var/lib/hipache"], EmbeddedDriver, ("embedded:/var/lib/hipache",)),
        (["file:routes.toml"], FileDriver, ("file:routes.toml",)),
        (["file:///etc/my%20routes.toml"], FileDriver, ("file:/etc/my routes.toml",)),
    ],
)  # fmt: skip
def test_the_scheme_tells_the_driver(urls: list[str], kind: type, names: tuple[str, ...]) -> None:
    driver = driver_for(urls)
    assert (type(driver), driver.names) == (kind, names)


BAD = [
    ("etcd://h", "expected one of redis:, rediss:, unix:, redis+sentinel:"),
    ("redis", "expected one of redis:"),
    ([], "expected one URL, or [read, write] of a Redis"),
    (["file:a", "file:b"], "expected one URL, or [read, write]"),
    (["redis://a", "file:b"], "expected one of redis:"),
    (["redis+cluster://a", "redis+cluster://b"], "expected one URL, with several servers"),
    (["redis://a", "redis+cluster://b"], "expected one of redis:"),
    ("redis+cluster://a/1", "a cluster has no databases: expected none, or /0"),
    ("redis+cluster://a?keys=some", "expected keys=plain or keys=tagged"),
    ("redis://a?keys=tagged", "unknown parameter keys"),
    (["redis://a", "redis://b", "redis://c"], "expected one URL, or [read, write]"),
    ("file:", "expected file:PATH"),
    ("redis://h:99999", "expected redis://[user]:password@host:port"),
    ("rediss://h?verify=maybe", "expected verify=true or verify=false"),
    ("redis://h\n", "expected a URL without line breaks"),
]


def test_a_scheme_without_its_colon_is_told_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r'found "redis"; did you mean "redis:"\?$'):
        driver_of(parse(json.dumps({"driver": "redis"})))


@pytest.mark.parametrize(("driver", "problem"), BAD)
def test_a_mistake_is_one_line_with_file_key_expectation_and_finding(
    driver: object, problem: str
) -> None:
    config = parse(json.dumps({"driver": driver}), source="my.json")
    with pytest.raises(ConfigError) as caught:
        driver_of(config)
    assert str(caught.value).startswith(f"my.json: driver: {problem}")
    assert str(caught.value).isprintable()


def test_a_url_of_the_environment_is_named_as_such() -> None:
    with pytest.raises(ConfigError, match=r"^\$REDIS_URL: expected one of redis:"):
        driver_of(parse("{}", environ={"REDIS_URL": "mysql://a@b"}))


@pytest.mark.parametrize(
    "url", ["redis://:s3cret@h:99999", "etcd://user:s3cret@h", "redis://h?password=s3cret&x=1"]
)
def test_no_message_shows_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        driver_of(Config(driver=(url,)))
    assert "s3cret" not in str(caught.value)


def test_what_is_shown_has_no_secrets_and_whole_paths() -> None:
    assert shown(Config(driver=("redis://u:s3cret@x@h/1#p", "rediss://h?password=s3cret"))) == [
        "redis://***@h/1#p", "rediss://h?***",
    ]  # fmt: skip
    assert shown(Config(driver=("file:a@b?c.toml",))) == ["file:a@b?c.toml"]
    assert shown(Config(driver=("embedded:/a@b",))) == ["embedded:/a@b"]


# A bad URL is the same error wherever the configuration is used.

LINE = "config.json: driver: expected redis://[user]:password@host:port/database#prefix"


def run(*words: str) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 78, done.output
    return done.output.removeprefix("hipache: ")


def made(config: Config) -> str:
    with pytest.raises(SystemExit) as stopped:
        create_app()
    assert stopped.value.code == 78
    return ""


def opened(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        open_store(config)
    return str(caught.value)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda _: run("check"), id="check"),
        pytest.param(lambda _: run("serve"), id="serve"),
        pytest.param(made, id="create_app"),
        pytest.param(opened, id="a store"),
        pytest.param(lambda _: run("route", "list"), id="route"),
        pytest.param(lambda _: run("dead", "list"), id="dead"),
        pytest.param(lambda _: run("explain", "a.test"), id="explain"),
        pytest.param(lambda _: run("redis", "ping"), id="redis"),
        pytest.param(lambda _: run("demo"), id="demo"),
        pytest.param(lambda _: run("top", "--once"), id="top"),
    ],
)
def test_a_bad_url_is_the_same_error_everywhere(
    use: Callable[[Config], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = '{"driver": "redis://h:99999", "server": {"accessLog": null}, "http": {"port": 0}}'
    Path("config.json").write_text(text)
    said = use(parse(text)) or capsys.readouterr().err.removeprefix("hipache: ")
    assert said.startswith(LINE)
    assert said.rstrip("\n").isprintable()


def test_the_doctor_calls_a_bad_url_a_bad_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text('{"driver": "redis://h:99999"}')
    done = CliRunner().invoke(main, ["doctor", "--json"])
    (found,) = json.loads(done.output)["findings"]
    assert (found["name"], found["subject"]) == ("bad-configuration", "config.json")
    assert found["problem"].startswith("driver: expected redis://[user]:password@host:port")


# Drivers of other packages.

DOCUMENT = (ROOT / "docs" / "stores.md").read_text("utf-8")
EXAMPLE = re.search(r"^    from hipache\.routing .*?(?=^- )", DOCUMENT, re.M | re.S)
assert EXAMPLE is not None
PLUGIN = textwrap.dedent(EXAMPLE[0]).replace("from hipache.", "from app.")
"""The example of the page, for the package's name in a checkout."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else's, as pip would leave it on sys.path."""
    folder = tmp_path / "site-packages"
    info = folder / "hipache_everything-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "hipache_everything.py").write_text(PLUGIN)
    (folder / "hipache_broken.py").write_text("1 / 0")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hipache-everything\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""
        [hipache.drivers]
        everything = hipache_everything:Driver
        broken = hipache_broken:Driver
        absent = hipache_absent:Driver
        nothing = hipache_everything:Everything
    """)
    )
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "hipache_everything", raising=False)
    return folder


async def test_a_driver_of_another_package_serves_the_proxy(installed: Path) -> None:
    async with answering(answer(b"hello")) as backend:
        config = Config(
            driver=(f"everything:http://127.0.0.1:{backend.port}",),
            server=ServerConfig(access_log=None, snapshot=None),
        )
        async with serving(create_app(config)) as port, httpx.AsyncClient() as client:
            got = await client.get(f"http://127.0.0.1:{port}/", headers={"host": "any.test"})
    assert (got.status_code, got.text) == (200, "hello")


def test_what_such_a_driver_does_not_offer_is_said(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"driver": "everything:http://127.0.0.1:1", "admin": {"bind": None}, "user": None}
    Path("config.json").write_text(json.dumps(values))
    check = CliRunner().invoke(main, ["check"])
    assert json.loads(check.stdout)["driver"] == ["everything:http://127.0.0.1:1"]
    for words, line in (
        (["redis", "ping"], "this kind of store answers no commands"),
        (["route", "list"], "'hipache route' cannot change this kind of store"),
    ):
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, done.output) == (
            1, f"hipache: everything:http://127.0.0.1:1: {line}\n",
        )  # fmt: skip
    driver = driver_for(["everything:http://127.0.0.1:1"])
    assert driver.certificates(timeout=1.0) is None
    assert isinstance(driver.hold(), nullcontext)
    assert (driver.writes(), driver.private) == ((), False)
    looked = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert looked["looked_at"][-1] == "everything:http://127.0.0.1:1 (but not its routes)"
    assert not {found["name"] for found in looked["findings"]} & {"store-away", "bad-table"}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("everything:", "expected everything:URL"),
        ("broken:x", "the driver of broken:, hipache_broken:Driver, cannot be loaded: ZeroDivis"),
        ("absent:x", "the driver of absent:, hipache_absent:Driver, cannot be loaded: ModuleNot"),
        ("nothing:x", "the driver of nothing:, hipache_everything:Everything, is no app.stores."),
        ("other:x", "expected one of redis:, rediss:, unix:, redis+sentinel:, rediss+sentinel:, "
         "redis+cluster:, rediss+cluster:, embedded:, file:, absent:, broken:, everything:, "
         "nothing:, found"),
    ],
)  # fmt: skip
def test_a_driver_that_cannot_be_used_is_named(installed: Path, url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        driver_of(Config(driver=(url,)))
    assert str(caught.value).startswith(f"defaults: driver: {problem}")


def test_others_drivers_are_loaded_only_when_their_scheme_is_asked_for(installed: Path) -> None:
    code = (
        "import sys; from app.stores import driver_for; driver_for(['redis:']);"
        "assert 'hipache_everything' not in sys.modules;"
        "driver_for(['everything:http://a']); assert 'hipache_everything' in sys.modules;"
        "assert 'hipache_broken' not in sys.modules"
    )
    path = os.pathsep.join((str(installed), str(ROOT)))
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, cwd=ROOT, check=True
    )


def test_each_scheme_has_one_driver() -> None:
    schemes = [scheme for kind in BUILT_IN for scheme in kind.schemes]
    assert len(schemes) == len(set(schemes))


# Nothing outside app/stores knows which kind of store there is.

APP = ROOT / "app"
OUTSIDE = [
    path for path in sorted(APP.rglob("*.py")) if "stores" not in path.relative_to(APP).parts
]
KINDS = ("stores.redis", "stores.embedded", "stores.file", "stores.cache")
OLD_KEYS = APP / "config" / "legacy.py"
"""It turns Hipache's old keys, which could name nothing but a Redis, into a URL."""
DIES_WITH_PARENT = "stores.embedded.keeper"
"""Of this module, a script by itself, `hipache demo` borrows a system call."""


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(APP)}:{getattr(node, 'lineno', 0)}"


def test_nobody_outside_imports_one_kind_of_store() -> None:
    found = [
        where(path, node)
        for path in OUTSIDE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        if str(node.module).startswith(KINDS) and node.module != DIES_WITH_PARENT
    ]
    assert found == []


def test_nobody_outside_asks_which_class_the_routes_are_of() -> None:
    found = [
        where(path, node)
        for path in OUTSIDE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
        if re.search(r"Store\b|Routes\b|Driver\b", ast.unparse(node.args[1]))
    ]
    assert found == []


def test_nobody_outside_decides_by_a_scheme() -> None:
    schemes = {scheme for kind in BUILT_IN for scheme in kind.schemes} - {
        "unix"
    }  # backends have it
    words = schemes | {f"{scheme}:" for scheme in schemes} | {f"{scheme}://" for scheme in schemes}
    found = [
        where(path, node)
        for path in OUTSIDE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if path != OLD_KEYS
        if isinstance(node, ast.Compare)
        or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("startswith"))
        if any(isinstance(part, ast.Constant) and part.value in words for part in ast.walk(node))
    ]
    assert found == []
