"""The image's steps in a root of their own: so they are known to work where no daemon is.

A Debian by debootstrap stands for `python:slim`. It needs root, `debootstrap` and a network to
install from; the proxy itself runs in a network of its own, which has loopback alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import debian_root
from tests.debian_root import debootstrapped, outside, process_one
from tests.machines import quietly
from tests.processes import ROOT
from tests.test_images import DOCKERFILE, copied

PACKAGES = "ca-certificates,python3-venv"
MOST = 120 * 2**20
"""Bytes that the image may have over its base."""
SERVED_WITHIN = 1.0
"""Seconds from the start of the container, where others leave it the machine."""

pytestmark = debian_root.marks


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian in which every step of the image was done."""
    root = tmp_path_factory.mktemp("image") / "root"
    debootstrapped("bookworm", root, PACKAGES)
    (root / "src").mkdir()
    for name in copied():
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, root / "src" / name)
    # `python` and a pip that works for other environments, as python:slim has them.
    run("chroot", root, "python3", "-m", "venv", "/opt/slim")
    for step in re.findall(r"^RUN (.+)$", DOCKERFILE, re.M):
        run("chroot", root, "sh", "-c", f"cd /src && PATH=/opt/slim/bin:$PATH && {step}")
    for source, target in re.findall(r"^COPY (packaging\S+) (/\S+)$", DOCKERFILE, re.M):
        place = root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, place)
    yield root
    shutil.rmtree(root)  # half a gigabyte


def run(*command: str | Path) -> None:
    debian_root.run(*command, env=clean())


def clean(**more: str) -> dict[str, str]:
    """What a container has in its environment, and where pip installs from."""
    [path] = re.findall(r"PATH=(\S+):\$PATH", DOCKERFILE)
    said = dict(re.findall(r"(HIPACHE\w+|PYTHON\w+)=(\S+)", DOCKERFILE.partition("\nENV ")[2]))
    return outside(**said, PATH=f"{path}:{os.defpath}:/usr/sbin:/sbin", **more)


RUN = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && mount --bind /dev "$1/dev" &&
mount -t tmpfs tmpfs "$1/dev/shm" && mount -t proc proc "$1/proc" && ip link set lo up &&
exec chroot --userspec=12345:12345 --groups= "$1" hipache serve
"""
"""In namespaces of its own: read-only, as a uid that nobody knows, process 1, loopback alone."""


@pytest.fixture
def container(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The image as it runs, without a Redis; `unshare` ends as its process 1 does."""
    command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
    with subprocess.Popen(
        [*quietly(), *command, "sh", "-c", RUN, "sh", root],
        env=clean(REDIS_URL="redis://127.0.0.1:1", WEB_CONCURRENCY="2"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as started:  # fmt: skip
        yield started
        started.kill()


def healthy(inside: int, root: Path) -> bool:
    """What the image's own health check says."""
    [check] = re.findall(r'HEALTHCHECK .*CMD \["python", "(\S+)"\]', DOCKERFILE)
    enter = [*quietly(), "nsenter", f"--target={inside}", "--net", "chroot", root]
    words = [*enter, "python", check]
    return subprocess.run(words, env=clean(), capture_output=True, check=False).returncode == 0


def test_it_is_small(root: Path) -> None:
    size = sum(
        path.lstat().st_blocks * 512 for path in (root / "opt/hipache").rglob("*")
    )  # as du has it
    assert size < MOST


def test_it_serves_read_only_as_any_uid_and_stops_in_order(
    root: Path, container: subprocess.Popen[bytes]
) -> None:
    began = time.monotonic()
    inside = process_one(container)
    while not healthy(inside, root):
        assert container.poll() is None, container.stderr and container.stderr.read()
        assert time.monotonic() - began < SERVED_WITHIN
        time.sleep(0.05)
    print(f"served after {time.monotonic() - began:.1f} s", file=sys.stderr)
    os.kill(inside, 15)
    assert container.wait(40) == 0
