"""The image and the Debian package: their steps, run without a daemon and without installing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.config.structs import parse
from tests.ports import free_port
from tests.processes import ROOT, program
from tests.redis_servers import RedisServer

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
IMAGE = ROOT / "packaging/image"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HIPACHE", "COV"))}


def copied() -> list[str]:
    """What the image's first stage takes from the checkout."""
    first = DOCKERFILE.split("\nFROM ")[1]
    lines = re.findall(r"^COPY (.+) \./?\S*$", first, re.M)
    return [word for line in lines for word in line.split()]


def test_the_image_takes_only_what_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    later = re.findall(r"^COPY (packaging\S+)", DOCKERFILE, re.M)
    for name in (*copied(), *later):
        assert (ROOT / name).exists()
        assert any(name == each or name.startswith(f"{each}/") for each in allowed)
    assert len(copied()) == 5


def test_the_image_runs_as_nobody_and_stops_in_order() -> None:
    assert "\nUSER 65532:65532\n" in DOCKERFILE
    assert '\nENTRYPOINT ["hipache"]\nCMD ["serve"]\n' in DOCKERFILE
    assert "\nSTOPSIGNAL SIGTERM\n" in DOCKERFILE


@pytest.mark.parametrize("file", ["image", "debian"])
def test_the_configurations_are_good(file: str) -> None:
    assert parse((ROOT / f"packaging/{file}/config.json").read_text("utf-8")).warnings == ()


def test_the_image_writes_nothing() -> None:
    server = parse((IMAGE / "config.json").read_text("utf-8")).server
    assert (server.snapshot, server.status_socket, str(server.access_log)) == (None, None, "stdout")


def test_the_health_check_fails_where_nobody_serves() -> None:
    done = subprocess.run(
        [sys.executable, IMAGE / "healthy.py"], env=CLEAN | {"PORT": str(free_port())},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "does not answer" in done.stderr


def test_the_image_has_the_program_that_jupyterhub_calls(tmp_path: Path) -> None:
    name = "configurable-http-proxy"
    assert f"\nCOPY packaging/image/{name} /opt/hipache/bin/{name}\n" in DOCKERFILE
    (tmp_path / "hipache").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "hipache").chmod(0o755)
    done = subprocess.run(
        [IMAGE / name, "--ip=::", "--port=8000"], env={"PATH": f"{tmp_path}:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "chp --ip=:: --port=8000\n"


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """The RUN steps of the image, in a folder in place of /opt/hipache."""
    source, opt = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    for name in copied():
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, source / name)
    for step in re.findall(r"^RUN (.+)$", DOCKERFILE, re.M):
        here = step.replace("/opt/hipache", str(opt)).replace("python -m", f"{sys.executable} -m")
        subprocess.run(here, shell=True, cwd=source, env=CLEAN, check=True)
    # The image's own address is every one.
    config = (IMAGE / "config.json").read_text().replace('"0.0.0.0"', '"127.0.0.1"')
    (tmp_path / "config.json").write_text(config)
    return opt


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_the_steps_of_the_image(opt: Path, tmp_path: Path, valkey: RedisServer) -> None:
    port = free_port()
    environ = CLEAN | {
        "HIPACHE_CONFIG": str(tmp_path / "config.json"), "REDIS_URL": valkey.url,
        "PORT": str(port), "WEB_CONCURRENCY": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    before = set(os.listdir(tmp_path))
    async with program(str(opt / "bin/hipache"), "serve", cwd=tmp_path, environ=environ) as service:
        await service.ready(1)
        probe = str(IMAGE / "healthy.py")
        async with program(sys.executable, probe, cwd=tmp_path, environ=environ) as healthy:
            assert await healthy.ended() == 0
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert set(os.listdir(tmp_path)) == before


@pytest.mark.long
@pytest.mark.timeout(900)  # pip and xz, on a machine that may be busy
def test_the_debian_package(tmp_path: Path) -> None:
    if not (shutil.which("dpkg-deb") and Path("/usr/bin/python3").exists()):
        pytest.skip("needs dpkg-deb and Debian's python3-venv")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run(
        [ROOT / "packaging/debian/build", wheel, tmp_path], env=CLEAN, check=True,
        capture_output=True,
    )  # fmt: skip
    [package] = tmp_path.glob("*.deb")
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    for name in (
        "etc/hipache/config.json", "lib/systemd/system/hipache.service",
        "usr/share/man/man1/hipache.1.gz", "usr/share/bash-completion/completions/hipache",
        "etc/logrotate.d/hipache",
    ):  # fmt: skip
        assert (root / name).stat().st_size > 0
    assert (root / "usr/bin/hipache").stat().st_mode & 0o111 == 0o111
    script = (root / "opt/hipache/bin/hipache").read_text()
    assert script.startswith("#!/opt/hipache/bin/python")
    run = [root / "opt/hipache/bin/python", "-m", "hipache", "--version"]
    said = subprocess.run(run, env=CLEAN, capture_output=True, text=True, check=True).stdout
    control = subprocess.run(
        ["dpkg-deb", "-f", package, "Version"], capture_output=True, text=True, check=True
    ).stdout
    assert said.split()[1] == control.strip().replace("~", ".")
    comes_and_goes(package, tmp_path / "machine")


def comes_and_goes(package: Path, machine: Path) -> None:
    """Removing leaves settings, logs and state; purging leaves what the administrator put there."""
    etc, log = machine / "etc/hipache", machine / "var/log/hipache"

    def dpkg(*words: str | Path) -> None:
        chrootless = ["--force-script-chrootless", "--force-depends", "--force-not-root"]
        subprocess.run(["dpkg", f"--root={machine}", *chrootless, *words], check=True)

    machine.mkdir()
    dpkg("--install", package)
    assert [*machine.glob("opt/hipache/lib/python3.*/site-packages/hipache/__pycache__/cli.*.pyc")]
    for folder in (log, machine / "var/lib/hipache"):
        folder.mkdir(parents=True)
    (log / "access.log").touch()
    dpkg("--remove", "hipache")
    assert not (machine / "opt/hipache").exists()
    assert (etc / "config.json").exists()
    assert (log / "access.log").exists()
    (etc / "default.key").touch()
    dpkg("--purge", "hipache")
    left = [path for path in machine.rglob("*hipache*") if "lib/dpkg" not in str(path)]
    assert left == [etc]
    assert [path.name for path in etc.iterdir()] == ["default.key"]


def test_the_pods_of_kubernetes_are_the_image_as_it_is_served() -> None:
    documents = [*yaml.safe_load_all((ROOT / "packaging/kubernetes/hipache.yaml").read_text())]
    files, deployment, service, *_ = documents
    config = parse(files["data"]["config.json"])
    assert config.warnings == ()
    assert (config.server.snapshot, config.server.status_socket) == (None, None)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": config.http.binds[0].port}]
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert f"USER {pod['securityContext']['runAsUser']}:" in DOCKERFILE
    [mount] = container["volumeMounts"]
    assert f"HIPACHE_CONFIG={mount['mountPath']}/config.json" in DOCKERFILE
    *_, waited = container["lifecycle"]["preStop"]["exec"]["command"]
    least = int(waited) + config.server.graceful_timeout
    assert pod["terminationGracePeriodSeconds"] > least


def test_the_compose_file_names_what_the_page_says() -> None:
    """Read as text: no YAML is needed to run Hipache, nor to test it."""
    text = (ROOT / "compose.yml").read_text("utf-8")
    services = re.findall(r"^  (\w+):", text.partition("services:")[2], re.M)
    assert services == ["redis", "proxy1", "proxy2", "app1", "app2", "route"]
    assert json.dumps(["127.0.0.1:8080:8080"]) in text
