"""The wheel, built from the sdist and installed elsewhere, has all that it needs."""

import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.processes import program, write_config
from tests.redis_servers import RedisServer

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it, without a download."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment with only the wheel in it, dependencies borrowed."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    [wheel] = built.glob("*.whl")
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=home)
    return borrow(python)


def borrow(python: Path) -> Path:
    """Let `python` import what this environment has installed, and not the project itself."""
    [packages] = python.parent.parent.glob("lib/python*/site-packages")
    # Only the folder itself: a .pth file inside it, of an editable install, is not followed.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return python


def test_the_sdist_has_what_a_person_looks_for(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "Procfile",
        "config.json", "templates/errors/502.html", "tests/test_packaging.py",
        "docs/configuration.md",
    }  # fmt: skip
    assert not [name for name in names if name.startswith((".venv/", ".hipache/", "dist/"))]


def test_a_release_leads_readers_of_an_index_to_the_repository(tmp_path: Path) -> None:
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(relative) > 20
    program = ROOT / "packaging/release/addresses.py"
    run(sys.executable, program, tmp_path, "https://git.test/us/", "v1.0.0", cwd=tmp_path)
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert "![Clients reach" in readme
    assert "](https://git.test/us/raw/v1.0.0/docs/fleet.svg)" in readme
    for path in set(relative) - {"docs/fleet.svg"}:
        assert f"](https://git.test/us/blob/v1.0.0/{path})" in readme
    assert not re.search(r"\]\((?!https:)", readme)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["urls"]["Source"] == "https://git.test/us"
    assert project["scripts"] == {"hipache": "hipache.cli:main"}


def test_what_is_no_address_of_a_repository_is_refused(tmp_path: Path) -> None:
    program = ROOT / "packaging/release/addresses.py"
    words = [sys.executable, program, tmp_path, "git.test/us"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "URL=git.test/us: expected the address of the repository, as https://…\n"


async def test_the_installed_wheel_serves_its_own_pages(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "routes").write_text('["b.test"]\nid = "b"\n')
    write_config(tmp_path, "file:routes", workers=1)
    package = run(installed, "-c", "import hipache; print(hipache.__file__)", cwd=tmp_path)
    assert Path(package).is_relative_to(installed.parent.parent)
    hipache = str(installed.with_name("hipache"))
    async with program(hipache, "serve", cwd=tmp_path, environ=ENVIRONMENT) as service:
        await service.ready(1)
        assert b"<h1>There is no site at this address</h1>" in await service.ask("a.test")


async def test_uvicorn_serves_the_installed_package_by_its_name(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "routes").write_text('["b.test"]\nid = "b"\n')
    port = free_port()
    write_config(tmp_path, "file:routes")
    way = (
        "-m",
        "uvicorn",
        "hipache:create_app",
        "--factory",
        "--workers",
        "2",
        "--port",
        str(port),
    )
    environ = {k: v for k, v in ENVIRONMENT.items() if k != "PORT"}
    async with program(str(installed), *way, cwd=tmp_path, environ=environ) as service:
        await service.bare_ready(2, port)
        assert b"<h1>There is no site at this address</h1>" in await service.ask("a.test")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0


def test_every_folder_of_the_checkout_is_a_package_of_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT / "app") for path in ROOT.glob("app/**/*.py")}
    names = {".".join(["hipache", *folder.parts]) for folder in folders}
    assert set(setuptools["packages"]) == names | {"hipache.templates"}


def test_the_wheel_takes_no_name_but_its_own(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"hipache"}
    assert {"hipache/py.typed", "hipache/templates/errors/502.html"} <= set(names)


@pytest.fixture(scope="module")
def editable(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment with an editable install of an unpacked sdist."""
    home = tmp_path_factory.mktemp("editable")
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(home, filter="data")
    [checkout] = home.glob("hipache-*")
    venv.create(home / "venv", symlinks=True)
    python = borrow(home / "venv" / "bin" / "python")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run(sys.executable, "-m", "pip", "--python", python, *install, "-e", checkout, cwd=home)
    return python


@pytest.mark.parametrize("kind", ["installed", "editable"])
@pytest.mark.parametrize("command", ["hipache", "python -m hipache"])
def test_an_app_of_the_users_own_is_not_disturbed(
    kind: str, command: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    python: Path = request.getfixturevalue(kind)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("mine = True\n")
    program, *words = command.split()
    done = subprocess.run(
        [python.with_name(program), *words, "--help"],
        cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: hipache")
    seen = run(python, "-c", "import app, hipache; print(app.mine)", cwd=tmp_path)
    assert seen.strip() == "True"


async def test_the_procfile_runs_on_what_a_platform_gives(
    tmp_path: Path, valkey: RedisServer
) -> None:
    line = (ROOT / "Procfile").read_text().removeprefix("web: ").strip()
    port = free_port()
    async with valkey.client as client:
        await client.rpush("frontend:a.test", "id")
    given = {"PORT": str(port), "WEB_CONCURRENCY": "3", "REDIS_URL": valkey.url}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PYTHONPATH": str(ROOT)}
    async with program("sh", "-c", f"exec {line}", cwd=tmp_path, environ=path | given) as service:
        await service.bare_ready(3, port)
        assert b"502 Bad Gateway" in await service.ask("a.test")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
