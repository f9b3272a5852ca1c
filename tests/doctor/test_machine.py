"""`hipache doctor` on this machine: files, ports, folders, certificates, and who may read what."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.config.structs import Config, parse
from app.doctor import certificates, machine, ports
from app.doctor.certificates import of_expiry
from app.doctor.findings import Finding
from app.workers import privileges
from tests.doctor.test_doctor import Doctor
from tests.processes import ROOT, command, serve
from tests.tls.authority import DEFAULT, EXACT, write

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up")


def config(**values: Any) -> Config:
    server = {"accessLog": None, "snapshot": None, "statusSocket": None}
    values = {"user": None, "driver": "file:none.toml"} | values
    values["server"] = server | values.get("server", {})
    return parse(json.dumps(values))


def of_user(asked: Config) -> list[Finding]:
    """Less what the machine of whoever runs the tests may have: a Python in a closed home."""
    return [found for found in machine.of_user(asked) if "unreadable" not in found.name]


def open_to_all(folder: Path) -> None:
    """pytest makes its folders for their owner alone."""
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()):
            return
        each.chmod(0o755)


def sh(found: Finding) -> None:
    subprocess.run(["sh", "-c", found.mend], check=True)


# The configuration


def test_old_names_are_told_and_the_file_is_rewritten(tmp_path: Path, valkey: Any) -> None:
    doctor = Doctor(tmp_path)
    doctor.config.write_text(
        json.dumps({
            "server": {"port": 0, "address": ["127.0.0.1"], "errorMaxRetries": 2},
            "redisHost": "127.0.0.1", "redisPort": valkey.port, "user": None,
            "https": {"secureProtocol": "SSLv23_method"},
        })
    )  # fmt: skip
    doctor.config.chmod(0o640)
    found = [f for f in doctor.findings() if f["name"] == "old-key"]
    assert [f["subject"].rpartition(" ")[2] for f in found] == [
        "https.secureProtocol", "redisHost", "redisPort",
        "server.address", "server.errorMaxRetries", "server.forwardedProtocol", "server.port",
    ]  # fmt: skip
    before = parse(doctor.config.read_text())
    old = doctor.config.read_text()
    doctor.mend(found[0])
    after = parse(doctor.config.read_text())
    assert (after.driver, after.http, after.server) == (before.driver, before.http, before.server)
    assert after.warnings == ()
    assert doctor.config.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "config.json.old").read_text() == old


def test_a_configuration_that_can_not_be_used(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    doctor.config.write_text('{"server": {"wrokers": 1}}')
    (found,) = doctor.findings()
    assert (found["name"], found["severity"]) == ("bad-configuration", "error")
    assert found["problem"].endswith("did you mean server.workers?")
    status, output = doctor.run("check", "--modernise", "--config", str(doctor.config))
    assert status == 78
    assert not (tmp_path / "config.json.old").exists(), output


def test_an_admin_listener_for_everybody_is_told(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    doctor.config.write_text('{"admin": {"bind": "0.0.0.0:8001"}}')
    (found,) = doctor.findings()
    assert (found["name"], found["severity"]) == ("bad-configuration", "error")
    assert "admin.token: expected one, since 0.0.0.0:8001 is not loopback" in found["problem"]


# Files and ports


def test_too_few_open_files_for_one_backend() -> None:
    limit = machine.open_files(None)
    (found,) = machine.of_files(config(server={"maxSockets": limit // 2}), None)
    assert found.mend == f"ulimit -n {max(65536, limit // 2 * 2 + 64)}"
    assert list(machine.of_files(config(server={"maxSockets": 10}), None)) == []


def test_too_few_open_files_for_all_clients() -> None:
    limit = machine.open_files(None)
    (found,) = machine.of_files(config(server={"maxConnections": limit, "maxSockets": 1}), None)
    assert (found.name, found.subject) == ("open-files", f"server.maxConnections = {limit}")
    fewer = config(server={"maxConnections": limit - 64, "maxSockets": 1})
    assert list(machine.of_files(fewer, None)) == []


def test_a_syslog_that_does_not_listen(tmp_path: Path) -> None:
    where = tmp_path / "log"
    asked = config(server={"accessLog": f"syslog:{where}", "snapshot": None})
    (found,) = of_user(asked)
    assert (found.name, found.mend) == ("no-syslog", f"ls -l {where}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(where))
        assert of_user(asked) == []


async def test_the_running_services_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "routes.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    async with serve(tmp_path, "file:routes.toml", 1, statusSocket="status") as service:
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (200, 4096))
        doctor = Doctor(tmp_path)
        ask = partial(doctor.run, "doctor", "--json", "--config", str(doctor.config))
        told = json.loads((await asyncio.to_thread(ask))[1])
    (found,) = [f for f in told["findings"] if f["name"] == "open-files"]
    assert found["problem"].startswith(f"process {service.pid} may open 200 files")
    assert f"the service that runs here (pid {service.pid})" in told["looked_at"]


def test_a_port_that_another_program_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        asked = config(http={"port": port})
        (found,) = ports.of_ports(asked, None)
        assert (found.name, found.subject) == ("port-taken", f"127.0.0.1:{port}")
        assert list(ports.of_ports(asked, 4711)) == []  # then it is our own service's
    assert list(ports.of_ports(asked, None)) == []


def test_an_admin_address_that_another_program_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        asked = config(admin={"bind": f"127.0.0.1:{other.getsockname()[1]}"})
        (found,) = ports.of_admin(asked, None)
        assert (found.name, found.severity) == ("admin-address", "warning")
        assert list(ports.of_admin(asked, 4711)) == []  # then it is our own service's
    assert list(ports.of_admin(asked, None)) == []
    assert list(ports.of_admin(config(admin={"bind": None}), None)) == []


def test_an_address_of_another_machine() -> None:
    (found,) = ports.of_ports(config(http={"bind": "192.0.2.1", "port": 8080}), None)
    assert found.name == "bad-address"


@as_root
def test_a_privileged_port() -> None:
    nobody = pwd.getpwnam("nobody")
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest <= 1:
        pytest.skip("no port is privileged here")

    def ask() -> str | None:
        return next((f.name for f in ports.of_ports(config(http={"port": 1}), None)), None)

    assert privileges.as_user(nobody.pw_uid, nobody.pw_gid, ask) == "privileged-port"


# Folders


@as_root
def test_a_folder_that_the_workers_may_not_write_to(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    log = tmp_path / "log" / "access.log"
    asked = config(user="nobody", server={"accessLog": str(log)})
    assert of_user(asked) == [], "root makes it and hands it over"
    log.parent.mkdir(mode=0o755)
    log.touch()
    assert of_user(asked) == [], "root hands it over"
    log.with_name("other").hardlink_to(log)
    (found,) = of_user(asked)
    assert (found.name, found.subject) == ("not-writable", f"server.accessLog = {log}")
    sh(found)
    assert of_user(asked) == []
    asked = config(user="nobody", server={"snapshot": str(tmp_path / "new" / "routes.json")})
    assert of_user(asked) == [], "root makes it and hands it over"
    (tmp_path / "new").mkdir()
    (found,) = of_user(asked)
    sh(found)
    assert of_user(asked) == []
    tmp_path.chmod(0o700)
    (found,) = of_user(asked)
    assert found.mend == ""
    assert found.advice == f"{tmp_path} is closed to nobody: name a place that is not."


def test_a_folder_of_certificates_that_is_none(tmp_path: Path) -> None:
    """Only where the store keeps none itself, and something is ordered."""
    folder = tmp_path / "acme"
    acme = {"agree": True, "directory": "https://127.0.0.1:1/", "folder": str(folder)}
    https = {"bind": "127.0.0.1", "acme": acme}
    assert of_user(config(https=https)) == []
    folder.touch()
    (found,) = of_user(config(https=https))
    assert (found.name, found.severity) == ("not-writable", "warning")
    assert found.subject.startswith("https.acme.folder")
    assert found.problem == f"{folder} is no folder"
    assert of_user(config(https=https, driver="redis:")) == []
    assert of_user(config(https={"bind": "127.0.0.1", "certs": "."})) == []


@as_root
def test_error_pages_that_nobody_can_read(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    asked = config(user="nobody", server={"staticDir": str(pages)})
    (found,) = of_user(asked)
    sh(found)
    open_to_all(tmp_path)
    pages.chmod(0o700)
    (found,) = of_user(asked)
    assert found.problem == "nobody may not read it"
    sh(found)
    assert of_user(asked) == []


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FREE", 1.1)  # then every disk is
    (found,) = machine.of_user(config(server={"accessLog": str(tmp_path / "log")}))
    assert found.name == "disk-full"


@as_root
def test_a_user_who_does_not_exist() -> None:
    (found,) = machine.of_user(config(user="nobody-of-that-name"))
    assert (found.name, found.severity) == ("no-user", "error")


# A program that the workers may not read


@pytest.fixture
def closed_home(tmp_path: Path) -> Path:
    """The program in a folder that only root may enter."""
    home = tmp_path / "home"
    shutil.copytree(ROOT / "app", home / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "templates", home / "templates")
    open_to_all(tmp_path)
    home.chmod(0o700)
    return home


@as_root
async def test_serve_refuses_what_its_workers_could_not_read(
    tmp_path: Path, closed_home: Path
) -> None:
    (tmp_path / "routes.toml").write_text("")
    values = {"server": {"accessLog": None, "workers": 1}, "http": {"port": 0}, "user": "nobody"}
    (tmp_path / "config.json").write_text(
        json.dumps(values | {"driver": "file:routes.toml", "admin": {"bind": None}})
    )
    async with command("app.cli", "serve", cwd=tmp_path, PYTHONPATH=str(closed_home)) as service:
        assert await service.ended() == 78
    assert service.log == [
        f"hipache: user: nobody may not read the program itself: {closed_home} is closed to it; "
        "install Hipache where everybody may read, as in /opt, or name another user\n"
    ]


@as_root
def test_doctor_names_the_folder_that_is_closed(tmp_path: Path, closed_home: Path) -> None:
    code = (
        "from app.config.structs import parse\n"
        "from app.doctor import machine\n"
        'asked = parse(\'{"user": "nobody", "server": {"accessLog": null}}\')\n'
        "print(*(f.problem for f in machine.of_user(asked)))"
    )
    environ = os.environ | {"PYTHONPATH": str(closed_home)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert f"nobody may not read the program itself: {closed_home} is closed to it" in done.stdout


# Certificates


def of_certificates(**https: Any) -> list[Finding]:
    return list(certificates.look(config(https={"bind": "127.0.0.1", "port": 0} | https)))


def test_certificates_that_are_well(tmp_path: Path) -> None:
    write(tmp_path, "default", DEFAULT)
    write(tmp_path, "a.test", EXACT)
    for key in tmp_path.glob("*.key"):
        key.chmod(0o600)
    cert, key = str(tmp_path / "default.crt"), str(tmp_path / "default.key")
    assert of_certificates(cert=cert, key=key, certs=str(tmp_path)) == []


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    write(tmp_path, "a.test", EXACT)
    (tmp_path / "a.test.key").write_bytes(DEFAULT.private_key_pem.bytes())
    (tmp_path / "a.test.key").chmod(0o600)
    (found,) = of_certificates(certs=str(tmp_path))
    assert (found.name, found.severity) == ("certificate-unusable", "error")
    cert, key = str(tmp_path / "a.test.crt"), str(tmp_path / "a.test.key")
    (found,) = of_certificates(cert=cert, key=key)
    assert found.meaning == "'hipache serve' does not start."


def test_a_key_that_everybody_may_read(tmp_path: Path) -> None:
    write(tmp_path, "a.test", EXACT)
    (tmp_path / "a.test.key").chmod(0o644)
    (found,) = of_certificates(certs=str(tmp_path))
    assert found.name == "key-readable"
    sh(found)
    assert of_certificates(certs=str(tmp_path)) == []


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "severity", "problem"),
    [
        (-1, "error", "the certificate expired on 2025-12-31 00:00 UTC"),
        (10, "warning", "the certificate expires on 2026-01-11 00:00 UTC, in 10 days"),
        (40, None, ""),
    ],
)
def test_how_long_a_certificate_holds(days: int, severity: str | None, problem: str) -> None:
    found = list(of_expiry("a.crt", NOW + timedelta(days=days), "openssl", NOW))
    assert [(f.severity, f.problem) for f in found] == ([(severity, problem)] if severity else [])
