"""A Debian in a folder, by debootstrap; and one that systemd runs, with loopback alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

STEPS_TIMEOUT = 900
"""Seconds for one step: some download, on a machine that may be busy."""
NEEDED = ("debootstrap", "unshare", "nsenter")
UNREACHED = re.compile(r"Failed getting release file|Couldn't download|Invalid Release file")

marks = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, NEEDED)),
        reason="needs root, and debootstrap and util-linux of Debian",
    ),
]


def debootstrapped(suite: str, root: Path, packages: str) -> None:
    """Make `root` a Debian of `suite`. Skips the test where none can be fetched."""
    words = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, root]
    done = subprocess.run(
        words, env=outside(), capture_output=True, text=True, check=False, timeout=STEPS_TIMEOUT
    )
    said = done.stdout + done.stderr
    if done.returncode != 0 and (why := UNREACHED.search(said)):
        pytest.skip(f"no mirror of Debian can be reached: {why[0]}")
    assert done.returncode == 0, said[-2000:]
    for name in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).exists():  # as a container has them
            shutil.copy(Path("/", name), root / name)


def outside(**more: str) -> dict[str, str]:
    """An environment without what this machine has in its own, but where pip installs from."""
    here = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    here.pop("PIP_FIND_LINKS", None)  # a folder of this machine
    return here | {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "HOME": "/root"} | more


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """What it prints. Fails the test with all of it if it ends with another status than 0."""
    done = subprocess.run(
        command, env=outside() if env is None else env, capture_output=True, text=True,
        check=False, timeout=STEPS_TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


BOOT = """
mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && mount -t sysfs sysfs "$1/sys" &&
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup" && mount -t tmpfs tmpfs "$1/dev" &&
mkdir "$1/dev/pts" "$1/dev/shm" &&
for device in null zero full random urandom tty
do touch "$1/dev/$device" && mount --bind "/dev/$device" "$1/dev/$device" || exit 1
done &&
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts" &&
ln -s pts/ptmx "$1/dev/ptmx" && ln -s /proc/self/fd "$1/dev/fd" &&
mount -t tmpfs tmpfs "$1/dev/shm" && mount -t tmpfs tmpfs "$1/run" &&
mount -t tmpfs tmpfs "$1/tmp" && ip link set lo up &&
mkdir "$1/run/before" && cd "$1" && pivot_root . run/before &&
exec chroot . sh -c 'umount --lazy /run/before && exec env --ignore-environment \
    container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd'
"""
"""A unit with PrivateUsers= cannot start in what was only entered by chroot: pivot_root, then."""
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")


class Machine(NamedTuple):
    """A Debian that systemd runs, in namespaces of its own."""

    process_one: int

    def shell(self, line: str, user: str = "root", *, downloads: bool = False) -> str:
        """What `line` prints in a shell of `user`. It sees loopback alone, unless it downloads."""
        return run(*self.words(line, user, downloads=downloads))

    def words(self, line: str, user: str = "root", *, downloads: bool = False) -> list[str]:
        """The command that runs `line` in there."""
        net = () if downloads else ("--net",)
        enter = ["nsenter", f"--target={self.process_one}", *NAMESPACES, *net, "--root", "--wd=/"]
        return [*enter, "runuser", "--login", user, "-w", ",".join(pip_variables()), "-c", line]


def pip_variables() -> list[str]:
    """The names of what tells pip where to install from."""
    return [name for name in outside() if name.startswith("PIP_")]


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """The machine of `root`, until the end of the block."""
    words = ["unshare", *NAMESPACES, "--net", "--fork", "--kill-child", "sh", "-c", BOOT, "sh"]
    with subprocess.Popen([*words, root], stdout=subprocess.DEVNULL) as started:
        try:
            machine = Machine(process_one(started))
            words = machine.words("true")
            end = time.monotonic() + 60
            words[-1] = "systemctl is-system-running"
            while running(words) not in ("running", "degraded"):
                assert started.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
            yield machine
        finally:
            started.kill()


def running(words: list[str]) -> str:
    done = subprocess.run(words, env=outside(), capture_output=True, text=True, check=False)
    return done.stdout.strip()


def process_one(container: subprocess.Popen[bytes]) -> int:
    """The pid, seen from here, of what is process 1 in there."""
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    while not (found := children.read_text().split()):
        assert container.poll() is None
        time.sleep(0.01)
    return int(found[0])
