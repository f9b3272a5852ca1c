"""The wheel, built from the sdist and installed elsewhere, has all that it needs."""

import os
import site
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

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


def test_the_installed_package_serves_its_own_pages(installed: Path, tmp_path: Path) -> None:
    program = """
import app.pages, app.errors
print(app.pages.__file__)
print(app.pages.ErrorPages().render(app.errors.NoLiveBackend())[1].decode())
"""
    file, _, page = run(installed, "-c", program, cwd=tmp_path).partition("\n")
    assert Path(file).is_relative_to(installed.parent.parent)
    assert "This site is not running right now" in page
