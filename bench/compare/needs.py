"""Programs that the comparison runs: found on PATH, or installed from their registry by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent

DEBIAN_PACKAGES = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "redis-server": "redis-server",
    "node": "nodejs",
    "npm": "npm",
    "valgrind": "valgrind",
    "gcc": "gcc",
}
"""Package by program. Debian's Caddy is measured where it is present, never installed: its
service would take port 80."""


def missing(programs: set[str]) -> set[str]:
    """Those of `programs` that are not on PATH."""
    return {program for program in programs if shutil.which(program) is None}


def install(programs: set[str]) -> None:
    """Install what is missing with apt-get, if this is root on a Debian; else leave it missing."""
    packages = sorted({DEBIAN_PACKAGES[name] for name in missing(programs) & set(DEBIAN_PACKAGES)})
    if not packages or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], env=env, check=False, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
        env=env,
        check=False,  # the code that needs the program reports it missing
        stdout=subprocess.DEVNULL,
    )


def install_node_http_proxy() -> None:
    """node-http-proxy into `bench/compare/node_modules`, at the version that package.json names."""
    if node_http_proxy_version() is None and shutil.which("npm"):
        subprocess.run(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"],
            cwd=HERE,
            check=False,
        )


def node_http_proxy_version() -> str | None:
    """Version of the installed node-http-proxy; None when it is not there."""
    manifest = HERE / "node_modules" / "http-proxy" / "package.json"
    return json.loads(manifest.read_text())["version"] if manifest.exists() else None
