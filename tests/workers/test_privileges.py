"""Started as root: what needs root is done before it is given up."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import psutil
import pytest

from tests.processes import command, write_config
from tests.redis_servers import RedisServer
from tests.tls.serving import Secured, write_tls_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up")


def groups_of(pid: int) -> list[str]:
    """Its supplementary groups."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in status if line.startswith("Groups:"))


async def test_root_is_given_up_and_a_key_that_only_root_reads_serves(
    tmp_path: Path, valkey: RedisServer
) -> None:
    user = pwd.getpwnam("nobody")
    write_tls_config(tmp_path, valkey.url)
    (tmp_path / "default.key").chmod(0o600)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"user": "nobody"}))
    async with command("app.cli", "serve", cwd=tmp_path) as service:
        here = Secured(service, None)  # type: ignore[arg-type]
        here.port = int((await service.saw(r"address=127.0.0.1:(\d+) scheme=https$"))[1])
        await service.saw("worker ready")
        assert await here.certificate("a.test") == "default.test"
        family = [psutil.Process(pid) for pid in (service.pid, *service.workers())]
        assert {each.uids() for each in family} == {(user.pw_uid,) * 3}
        assert not any("0" in groups_of(each.pid) for each in family)
    assert not any("refused" in line for line in service.log)


async def test_a_log_that_the_user_may_not_write_is_named_before_any_worker_starts(
    tmp_path: Path,
) -> None:
    path = write_config(tmp_path, "redis:", accessLog="log/access.log")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"user": "nobody"}))
    async with command("app.cli", "serve", cwd=tmp_path) as service:
        assert await service.ended() == 78
    told = [line for line in service.log if "server.accessLog" in line]
    log = tmp_path / "log/access.log"
    assert told == [f"hipache: config.json: server.accessLog: {log}: Permission denied\n"]
    assert "worker started" not in "".join(service.log)
