"""What the machine allows: open files, folders, and the user that the workers become."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

from ..config.structs import Config
from ..errors import ConfigError
from ..stores import driver_of
from ..system.open_files import KEPT, UNLIMITED, highest
from ..workers import privileges
from ..workers.start_checks import may, why_unwritable, workers_ids
from .findings import Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

FREE = 0.05


def of_files(config: Config, pid: int | None) -> Iterator[Finding]:
    """Compare the limit of open files, of the running service if there is one, with `maxSockets`
    and `maxConnections`."""
    limit, sockets = open_files(pid), config.server.max_sockets
    whose = f"process {pid}" if pid else "this shell"
    clients = config.server.max_connections
    if limit < (wanted := clients + KEPT):
        yield Finding(
            WARNING, "open-files", f"server.maxConnections = {clients}",
            f"{whose} may open {limit} files, and that many clients alone need {wanted}",
            "Before maxConnections is reached, no file is left for backends, logs and the store.",
            f"ulimit -n {max(65536, 2 * clients + KEPT)}",
            "Twice as many are better, because each client may need a connection to a backend. Or "
            "leave maxConnections at 0. Run this in the shell that starts the proxy; under "
            "systemd, set LimitNOFILE= in its unit:",
        )  # fmt: skip
    needed = 2 * sockets + KEPT  # a client's connection for each one to a backend
    if limit < needed:
        yield Finding(
            WARNING, "open-files", f"server.maxSockets = {sockets}",
            f"{whose} may open {limit} files, and one busy backend alone needs {needed}",
            "Clients are refused (503) or backends are not reached long before maxSockets matters.",
            f"ulimit -n {max(65536, needed)}",
            "Run this in the shell that starts the proxy; under systemd, set LimitNOFILE=65536:",
        )  # fmt: skip


def open_files(pid: int | None) -> int:
    """How many files `pid` may open, or, if that is unknown, what 'hipache serve' gets here."""
    if pid is not None:
        try:
            limits = Path(f"/proc/{pid}/limits").read_text("ascii")
        except OSError:
            pass  # another user's
        else:
            found = re.search(r"^Max open files +(\d+)", limits, re.M)
            return int(found[1]) if found else UNLIMITED
    return highest()


def of_user(config: Config) -> Iterator[Finding]:
    """Check the user that the workers become if root starts them, and what that user may do."""
    ids: tuple[int, int] | None = None
    who = "you"
    if os.geteuid() == 0 and config.user is not None:
        who = str(config.user)
        try:
            ids = workers_ids(config)
        except ConfigError as exc:
            yield Finding(
                ERROR, "no-user", f"user = {who}", str(exc),
                "If root starts 'hipache serve', it exits at once.",
                f"useradd --system --no-create-home {shlex.quote(who)}",
                "Name another user in the configuration, or create this one:",
            )  # fmt: skip
            return
        if ids is not None:
            yield from _of_program(who, *ids)
    yield from _of_syslog(config)
    yield from _of_log(config, who, ids)
    for severity, key, path, why in _written(config):
        yield from _of_folder(severity, key, path, why, who, ids)
    yield from _of_pages(config, who, ids)


def _of_program(who: str, uid: int, gid: int) -> Iterator[Finding]:
    ours = privileges.as_user(uid, gid, privileges.unreadable)
    pythons = privileges.as_user(uid, gid, lambda: privileges.unreadable(library=True))
    if ours is not None:
        yield Finding(
            ERROR, "program-unreadable", f"user = {who}",
            f"{who} may not read the program itself: {ours} is closed to it",
            "If root starts 'hipache serve', it exits at once: workers would die in a loop.",
            "python3 -m venv /opt/hipache && /opt/hipache/bin/pip install hipache",
            "Install it where every user may read it, or name a user who may. For example:",
        )  # fmt: skip
    elif pythons is not None:
        yield Finding(
            WARNING, "python-unreadable", f"user = {who}",
            f"{who} may not read Python's own library: {pythons} is closed to it",
            "Workers run, but what they import later fails, perhaps in the middle of a request.",
            "/usr/bin/python3 -m venv /opt/hipache && /opt/hipache/bin/pip install hipache",
            "Use a Python that every user may read, or name a user who may. For example:",
        )  # fmt: skip


def _of_syslog(config: Config) -> Iterator[Finding]:
    """Check that a daemon listens on the local socket; a remote one gives no answer."""
    log = config.server.access_log
    where = log.value.syslog if log is not None else None
    if not isinstance(where, str):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(where)
        except OSError as exc:
            yield Finding(
                WARNING, "no-syslog", f"server.accessLog = {log}",
                f"nothing accepts messages at {where}: {exc.strerror}",
                "Requests are served, but none is logged.", f"ls -l {shlex.quote(where)}",
                "Start the syslog daemon, or name the socket that it listens on. What is there:",
            )  # fmt: skip


def _of_log(config: Config, who: str, ids: tuple[int, int] | None) -> Iterator[Finding]:
    log = config.server.access_log
    if log is None or log.value.file is None:
        return
    path, key = Path(log.value.file).absolute(), f"server.accessLog = {log}"
    if why := why_unwritable(path, ids):
        yield Finding(
            ERROR, "not-writable", key, f"{who} may not write to it: {why}",
            "'hipache serve' does not start.", *_opened(path, path.parent, who, ids),
        )  # fmt: skip
    else:
        yield from _of_space(key, path, "Requests are served, but none is logged.")


def _written(config: Config) -> Iterator[tuple[Severity, str, Path, str]]:
    """Each file that the service writes beside its log: its key, its path, and the effect if it
    cannot."""
    server = config.server
    if server.snapshot is not None:
        yield (
            WARNING, "server.snapshot", Path(server.snapshot),
            "A worker that starts while the store is away has no routes.",
        )  # fmt: skip
    if server.status_socket is not None:
        yield (
            WARNING, "server.statusSocket", Path(server.status_socket),
            "'hipache status', 'hipache upgrade' and 'hipache doctor' find no service.",
        )  # fmt: skip
    driver, acme = driver_of(config), config.https.acme
    if acme.agree and driver.issuance(acme.folder, timeout=1).certs is not None:
        yield (
            WARNING, "https.acme.folder", Path(acme.folder) / "lock",
            "No certificate is ordered, and none is renewed.",
        )  # fmt: skip
    for path in driver.writes():
        yield ERROR, "driver", path, "The store cannot start."


def _of_folder(  # noqa: PLR0917
    severity: Severity, key: str, path: Path, why: str, who: str, ids: tuple[int, int] | None
) -> Iterator[Finding]:
    folder = path.absolute().parent
    there = next(each for each in (folder, *folder.parents) if os.path.exists(each))
    target = path if os.path.exists(path) else there
    root_makes_it = ids is not None and key != "driver"  # see workers.serve.become_user
    if not there.is_dir():
        yield Finding(
            severity, "not-writable", f"{key} = {path}", f"{there} is no folder", why,
            advice="Move that file away, or name another place.",
        )  # fmt: skip
        return
    if not (_may_write(target, ids) or (root_makes_it and not os.path.exists(folder))):
        yield Finding(
            severity, "not-writable", f"{key} = {path}", f"{who} may not write to {target}", why,
            *_opened(path, folder, who, ids),
        )  # fmt: skip
        return
    yield from _of_space(f"{key} = {path}", path, why)


def _of_space(subject: str, path: Path, why: str) -> Iterator[Finding]:
    there = next(each for each in path.absolute().parents if os.path.exists(each))
    space = os.statvfs(there)
    if space.f_blocks and space.f_bavail < FREE * space.f_blocks:
        yield Finding(
            WARNING, "disk-full", subject,
            f"{space.f_bavail * space.f_frsize / 2**20:.0f} MB are left on that disk", why,
            f"du -xh {shlex.quote(str(there))} | sort -h | tail",
            "Make room. To see the largest files:",
        )  # fmt: skip


def _opened(path: Path, folder: Path, who: str, ids: tuple[int, int] | None) -> tuple[str, str]:
    """The command that lets `who` write there, or else what to do by hand."""
    above = [
        each for each in folder.parents if os.path.exists(each) and not may(each, os.X_OK, ids)
    ]
    if above:
        return "", f"{above[-1]} is closed to {who}: name a place that is not."
    user = who if ids else str(os.getuid())
    if os.path.exists(path):
        mend = shlex.join(("chown", user, str(path)))
    else:
        mend = shlex.join(("install", "-d", "-o", user, str(folder)))
    return mend if os.geteuid() == 0 else f"sudo {mend}", ""


def _of_pages(config: Config, who: str, ids: tuple[int, int] | None) -> Iterator[Finding]:
    server = config.server
    for key, folder in (
        ("server.staticDir", server.static_dir), ("server.templatesDir", server.templates_dir),
    ):  # fmt: skip
        if folder is None:
            continue
        if not os.path.isdir(folder):
            yield Finding(
                WARNING, "no-pages", f"{key} = {folder}", "there is no such folder",
                "The built-in error pages are shown.", f"mkdir -p {shlex.quote(folder)}",
            )  # fmt: skip
        elif not _may_read(Path(folder), ids):
            yield Finding(
                WARNING, "no-pages", f"{key} = {folder}", f"{who} may not read it",
                "The built-in error pages are shown.", f"chmod -R a+rX {shlex.quote(folder)}",
            )  # fmt: skip


def _may_write(path: Path, ids: tuple[int, int] | None) -> bool:
    return may(path, os.W_OK | os.X_OK if os.path.isdir(path) else os.W_OK, ids)


def _may_read(path: Path, ids: tuple[int, int] | None) -> bool:
    return may(path, os.R_OK | os.X_OK, ids)
