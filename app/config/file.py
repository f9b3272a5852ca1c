"""Finds the configuration file, reads it and rewrites it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from ..errors import ConfigError
from .binds import HttpsBind
from .legacy import modern
from .parsed import AccessLogTarget
from .places import Places
from .structs import Config, parse

DEFAULT_NAME = "config.json"
DEFAULTS = "defaults"
"""The source of a configuration that no file gave."""
MAX_BYTES = 16 * 2**20


def here() -> Path:
    """The folder that this was started in; a path that leads nowhere if it has been removed."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/proc/self/cwd")


def load(path: str | Path | None, environ: Mapping[str, str], cwd: Path) -> Config:
    """The configuration from `path`, else from `$HIPACHE_CONFIG`, else from `config.json` in `cwd`.

    With `$SETTINGS_FLAVOR` set to `x`, `config_x.json` in the same folder is
    read in its place. If none of these names a file and there is no
    `config.json`, the defaults apply. Relative paths in it are made absolute: what they
    mean does not depend on `cwd`.

    Raises ConfigError, in one line, for a file that cannot be read or used.
    """
    name = _name(path, environ)
    unasked = not (path or environ.get("HIPACHE_CONFIG") or environ.get("SETTINGS_FLAVOR"))
    places = Places.of(os.path.abspath(cwd / name), environ)
    if unasked and _is_absent(cwd / name):
        return _placed(parse("{}", source=DEFAULTS, environ=environ), places)
    read = parse(_read(cwd / name, str(name)), source=str(name), environ=environ)
    return _placed(read, places)


def _is_absent(path: Path) -> bool:
    """False for a file that may be there and cannot be seen: it must not be passed over."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _placed(config: Config, places: Places) -> Config:
    """With absolute paths. Those in `driver` are for the store's driver to understand."""
    beside, server = places.beside, config.server
    return replace(
        config,
        places=places,
        server=replace(
            server,
            status_socket=_made(places.running, server.status_socket),
            snapshot=_made(places.kept, server.snapshot),
            static_dir=_made(beside, server.static_dir),
            templates_dir=_made(beside, server.templates_dir),
            access_log=_placed_log(server.access_log, beside),
        ),
        backend_tls=replace(
            config.backend_tls,
            ca=_made(beside, config.backend_tls.ca),
            cert=_made(beside, config.backend_tls.cert),
            key=_made(beside, config.backend_tls.key),
        ),
        https=replace(
            config.https,
            binds=tuple(_placed_bind(bind, beside) for bind in config.https.binds),
            acme=replace(
                config.https.acme,
                ca=_made(beside, config.https.acme.ca),
                folder=places.kept(config.https.acme.folder),
            ),
        ),
    )


def _placed_log(
    log: AccessLogTarget | None, beside: Callable[[str], str]
) -> AccessLogTarget | None:
    if log is None or log.value.file is None:
        return log
    return AccessLogTarget(beside(log.value.file))


def _placed_bind(bind: HttpsBind, beside: Callable[[str], str]) -> HttpsBind:
    return replace(
        bind,
        key=_made(beside, bind.key),
        cert=_made(beside, bind.cert),
        certs=_made(beside, bind.certs),
        ca=tuple(beside(path) for path in bind.ca),
    )


def _made(absolute: Callable[[str], str], path: str | None) -> str | None:
    return None if path is None else absolute(path)


def modernise(path: str | Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """Rewrite the file that `load` would read with today's names; returns the old one's new path.

    Raises ConfigError, and then nothing was changed.
    """
    name = _name(path, environ)
    text = _read(cwd / name, str(name))
    parse(text, source=str(name))
    file = (cwd / name).resolve()
    old, new = file.with_name(f"{file.name}.old"), file.with_name(f"{file.name}.new")
    try:
        shutil.copy2(file, new)  # its mode comes along: passwords may stand in it
        new.write_text(modern(text, str(name)), "utf-8")
        shutil.copy2(file, old)
        new.replace(file)
    except OSError as exc:
        raise ConfigError(f"{name}: cannot be rewritten: {exc.strerror}") from None
    return old


def _name(path: str | Path | None, environ: Mapping[str, str]) -> Path:
    name = Path(path or environ.get("HIPACHE_CONFIG") or DEFAULT_NAME)
    if flavor := environ.get("SETTINGS_FLAVOR"):
        return name.with_name(_flavored(flavor))
    return name


def _flavored(flavor: str) -> str:
    if "/" in flavor or "\0" in flavor:
        raise ConfigError(f"$SETTINGS_FLAVOR: expected a word, found {flavor!r}")
    return f"config_{flavor}.json"


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ConfigError(f"{ascii(name)[1:-1]}: cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}: not a configuration: more than {MAX_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{name}: not a configuration: byte {exc.start} is not UTF-8") from None
