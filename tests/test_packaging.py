"""The wheel, built from the sdist and installed elsewhere, has all that it needs."""

import os
import signal
import site
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.processes import program, write_config
from tests.redis_servers import RedisServer, free_port

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
    [packages] = home.glob("lib/python*/site-packages")
    # Only the folder itself: a .pth file inside it, of an editable install, is not followed.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return python


def test_the_sdist_has_what_a_person_looks_for(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "Procfile", "config.json",
        "templates/errors/502.html", "tests/test_packaging.py", "docs/configuration.md",
    }  # fmt: skip
    assert not [name for name in names if name.startswith((".venv/", ".hipache/", "dist/"))]


async def test_the_installed_wheel_serves_its_own_pages(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "routes").write_text('["b.test"]\nid = "b"\n')
    write_config(tmp_path, "file:routes", workers=1)
    package = run(installed, "-c", "import app; print(app.__file__)", cwd=tmp_path)
    assert Path(package).is_relative_to(installed.parent.parent)
    hipache = str(installed.with_name("hipache"))
    async with program(hipache, "serve", cwd=tmp_path, environ=ENVIRONMENT) as service:
        await service.ready(1)
        assert b"<h1>There is no site at this address</h1>" in await service.ask("a.test")


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
        service.port = port
        await service.saw("Started parent process")
        for _ in range(3):
            await service.saw("Application startup complete")
        assert b"502 Bad Gateway" in await service.ask("a.test")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
