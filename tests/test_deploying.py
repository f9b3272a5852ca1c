"""The pages on installing and deploying, word for word, in Debians that systemd runs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import debian_root
from tests.debian_root import Machine, booted, debootstrapped, outside, run
from tests.processes import ROOT
from tests.shell_lines import shell_lines

pytestmark = debian_root.marks

PACKAGES = "ca-certificates,systemd,systemd-sysv,sudo"
"""What a fresh Debian server has, beside the base of debootstrap."""
NOT_OURS = {".git", ".venv", ".hipache", ".hypothesis", ".fuzz", "build", "dist"}
"""What lies in a checkout and is not part of it."""


def ours(folder: str, names: list[str]) -> set[str]:
    """For copytree: what is left out."""
    here = NOT_OURS if Path(folder) == ROOT else {"__pycache__", "node_modules", ".work"}
    return {name for name in names if name in here or name.endswith((".egg-info", "_cache"))}


def lines_of(page: str) -> list[str]:
    return [line.text for line in shell_lines() if line.page == page]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A fresh Debian with one user, alice, who may become root and has a checkout."""
    root = tmp_path_factory.mktemp(request.param) / "root"
    debootstrapped(request.param, root, PACKAGES)
    run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "alice")
    (root / "etc/sudoers.d/alice").write_text(
        'alice ALL=(ALL) NOPASSWD: ALL\nDefaults env_keep += "PIP_*"\n'
    )
    shutil.copytree(ROOT, root / "home/alice/hipache", ignore=ours)
    run("chroot", root, "chown", "-R", "alice:", "/home/alice")
    with booted(root) as machine:
        yield machine
    shutil.rmtree(root)


LISTENING = "until {{ : > /dev/tcp/127.0.0.1/{}; }} 2>/dev/null; do sleep 0.1; done"


@pytest.fixture(scope="module")
def deployed(machine: Machine) -> Machine:
    """After the ten commands of the page."""
    ten = lines_of("deploy.md")[:10]
    for line in ten:
        if line.startswith("for port in"):
            machine.shell(f"cd / && {{ {line} ; }} >/dev/null 2>&1", "alice")
            machine.shell("; ".join(LISTENING.format(port) for port in (8081, 8082)))
            continue
        downloads = re.match(r"sudo apt-get|make", line) is not None
        said = machine.shell(f"cd ~/hipache && {line}", "alice", downloads=downloads)
    assert "Directory listing" in said
    return machine


def test_the_unit_and_the_pages_other_commands(deployed: Machine) -> None:
    assert deployed.shell("systemd-analyze verify /lib/systemd/system/hipache.service") == ""
    assert "workers=" in deployed.shell("cd / && sudo -u www-data hipache status", "alice")
    assert "no problems" in deployed.shell("cd / && sudo hipache doctor", "alice")
    assert "/etc/hipache" in deployed.shell(
        "cd / && sudo -u www-data hipache check 2>&1 | tail -1", "alice"
    )


ASKING = """
import collections, http.client, os
seen = collections.Counter()
while not os.path.exists("/tmp/enough"):
    try:
        asked = http.client.HTTPConnection("127.0.0.1", 80, timeout=30)
        asked.request("GET", "/", headers={"Host": "www.example.com"})
        seen[asked.getresponse().status] += 1
        asked.close()
    except Exception as exc:
        seen[repr(exc)] += 1
print(dict(seen))
"""
RELEASES = """
set -e
cd /home/alice
dpkg-deb -R hipache/dist/hipache_*.deb unpacked
for version in 1.0.0 1.1.0
do
    sed -i "s/^Version:.*/Version: $version/" unpacked/DEBIAN/control
    dpkg-deb --root-owner-group -Znone --build unpacked hipache_${version}_amd64.deb
done
"""


def test_no_request_is_lost_in_reload_upgrade_and_downgrade(deployed: Machine) -> None:
    commands = [line for line in lines_of("deploy.md")[10:] if re.match("sudo (sys|apt)", line)]
    assert len(commands) == 3
    deployed.shell(f"rm -f /tmp/enough; {RELEASES}")
    words = deployed.words(f"python3 -c '{ASKING.replace(chr(39), chr(34))}'", "alice")
    with subprocess.Popen(words, env=outside(), stdout=subprocess.PIPE, text=True) as asking:
        before = one_supervisor(deployed)
        for line in commands:
            deployed.shell(f"cd ~ && {line}", "alice")
            if "apt-get" in line:
                before = after(deployed, before)
        deployed.shell("touch /tmp/enough")
        seen = ast.literal_eval(asking.communicate(timeout=60)[0])
    assert set(seen) == {200}, seen
    assert seen[200] > 50


SUPERVISOR = "systemctl show --property=MainPID --value hipache"


def one_supervisor(machine: Machine) -> str:
    return machine.shell(SUPERVISOR).strip()


def after(machine: Machine, pid: str) -> str:
    """The supervisor that took over from `pid`."""
    machine.shell(f"timeout 90 sh -c 'while [ $({SUPERVISOR}) = {pid} ]; do sleep 0.1; done'")
    return one_supervisor(machine)


WHEELS = """
set -e
cd ~/hipache
for version in 1.0 1.1
do
    sed -i "s/^version = .*/version = \\"$version\\"/" pyproject.toml
    .venv/bin/python -m build --wheel --outdir ~/wheels >/dev/null
done
"""
BY_HAND = """
set -e
apt-get remove -y hipache
python3 -m venv /opt/hipache-1.0
/opt/hipache-1.0/bin/pip install --quiet --find-links /home/alice/wheels hipache==1.0
ln -s /opt/hipache-1.0 /opt/hipache
cp /home/alice/hipache/packaging/hipache.service /etc/systemd/system
cp /home/alice/hipache/packaging/hipache.socket /etc/systemd/system
systemctl daemon-reload
systemctl start hipache
"""
AS_BEFORE = """
set -e
systemctl disable --now hipache.socket hipache.service
rm /opt/hipache /etc/systemd/system/hipache.service /etc/systemd/system/hipache.socket
systemctl daemon-reload
apt-get install -y /home/alice/hipache/dist/hipache_*dev*.deb
systemctl enable --now hipache
"""


@pytest.fixture
def by_hand(deployed: Machine) -> Iterator[Machine]:
    """The service as it is without the package, of version 1.0."""
    deployed.shell(WHEELS, "alice", downloads=True)
    deployed.shell(BY_HAND, downloads=True)
    yield deployed
    deployed.shell(AS_BEFORE)


def test_the_upgrade_page(by_hand: Machine) -> None:
    lines = lines_of("upgrade.md")
    of_socket = [line for line in lines if line.startswith("sudo systemctl")]
    assert [len(lines), len(of_socket)] == [8, 3]
    for line in lines[:5]:
        said = by_hand.shell(
            f"export PIP_FIND_LINKS=$HOME/wheels; {line}", "alice", downloads="pip" in line
        )
    assert re.fullmatch(r"pid \d+ serves, version 1\.1; pid \d+ drains, version 1\.0\n", said)
    for line in of_socket:
        by_hand.shell(line, "alice")
    asked = "curl -s -o /dev/null -w '%{http_code} ' -H 'Host: __ping__' http://127.0.0.1/"
    answers = by_hand.shell(
        f"systemctl restart hipache & for time in $(seq 50); do {asked}; done; wait"
    )
    assert set(answers.split()) == {"200"}


@pytest.fixture
def without_the_service(deployed: Machine) -> Iterator[Machine]:
    deployed.shell("systemctl stop hipache")
    yield deployed
    deployed.shell("systemctl start hipache")


def test_the_start_page(without_the_service: Machine) -> None:
    """As alice, without the service; pip finds the wheel that `make deb` made."""
    deployed = without_the_service
    install, rest = lines_of("start.md")[:4], lines_of("start.md")[4:]
    given = "export PIP_FIND_LINKS=$HOME/hipache/dist; "
    deployed.shell(given + "; ".join(["set -e", *install]), "alice", downloads=True)
    assert rest[0] == "hipache demo"
    path = f"cd $(mktemp -d) && {install[3]}"
    shown = deployed.shell(
        f"{path} && {{ hipache demo >said 2>&1 & }} && {LISTENING.format(8080)}; "
        'until grep -q "Ask twice" said; do sleep 0.1; done; cat said; '
        'curl -sS "$(grep -om1 "http://demo.localhost[^ ]*" said)"; kill %1; wait %1',
        "alice",
    )
    assert shown.rstrip().splitlines()[-1].startswith("backend ")
    init, check, serve, site, route, ask, explain = rest[1:8]
    assert serve == "hipache serve"
    said = deployed.shell(
        f"{path} && {init} && {check} && {{ {serve} >log 2>&1 & }} && {LISTENING.format(8080)}; "
        f"{site} {route} && {ask} && {explain}; kill %1; wait %1", "alice",
    )  # fmt: skip
    assert "Directory listing" in said
    assert "matched   frontend:www.example.com" in said


def test_pipx(deployed: Machine) -> None:
    deployed.shell("apt-get install -y --no-install-recommends pipx", downloads=True)
    deployed.shell(
        "export PIP_FIND_LINKS=$HOME/hipache/dist; pipx install 'hipache[embedded,http2]'",
        "alice", downloads=True,
    )  # fmt: skip
    assert deployed.shell("~/.local/bin/hipache --version", "alice").startswith("hipache 1.")
