"""`hipache serve`: from a configuration to a supervisor with its workers."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from app import privileges, proxy_log, worker
from app.config import Config
from app.errors import ConfigError, StoreUnavailable
from app.listeners import Address, bind_all, close_all, from_systemd
from app.log_sinks import hand_over
from app.main import create_app
from app.server.running import uvicorn_config
from app.stores import hold, open_store
from app.supervisor import Generation, Limits, Supervisor

logger = logging.getLogger("hipache.serve")

Reader = Callable[[], Config]


def serve(read: Reader, environ: Mapping[str, str]) -> int:
    """Serve until told to stop; returns the exit status.

    `read` reads the configuration, now and at every SIGHUP. Raises ConfigError
    for whatever keeps the service from starting; nothing was started then.
    """
    config = read()
    set_up_log(config)
    open_store(config)  # what every worker would fail on, it fails on here
    sockets = from_systemd(environ) or bind_all(addresses(config))
    become_user(config)
    with store_held(config):
        for sock in sockets:
            logger.info("listening address=%s", name_of(sock))
        supervisor = Supervisor(
            generation(config, sockets),
            reload=partial(reloaded, read, config, sockets),
            on_stop=partial(close_all, sockets),
        )
        return supervisor.run()


@contextmanager
def store_held(config: Config) -> Iterator[None]:
    """Keep the embedded store running over all workers' lives. Raises ConfigError."""
    try:
        held = hold(config)
        held.__enter__()
    except StoreUnavailable as exc:
        raise ConfigError(f"{config.source}: driver: {exc}") from exc
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def set_up_log(config: Config, worker: int | None = None) -> None:
    """Our own log, as the configuration wants it."""
    proxy_log.set_up(config.server.log_format, debug=config.server.debug, worker=worker)
    for warning in config.warnings if worker is None else ():
        logger.warning("%s", warning)


def addresses(config: Config) -> list[Address]:
    """Where to listen, in the order of the configuration."""
    return [Address(bind.address.removeprefix("unix:"), bind.port) for bind in config.http.binds]


def generation(config: Config, sockets: Sequence[socket.socket]) -> Generation:
    """The workers that this configuration asks for."""
    return Generation(
        workers=config.server.workers or os.cpu_count() or 1,
        main=partial(run_worker, config, sockets),
        limits=Limits(
            graceful_timeout=config.server.graceful_timeout,
            recycle_grace=config.memory.graceful_wait,
        ),
    )


def reloaded(read: Reader, first: Config, sockets: Sequence[socket.socket]) -> Generation | None:
    """The generation of the file as it is now; a bad file is named and the old one stays.

    `first` is what was read at the start: what that bound stays bound.
    """
    try:
        config = read()
    except ConfigError as exc:
        logger.error("configuration refused, the old one stays: %s", exc)
        return None
    for name in ("http", "https", "user", "group"):
        if getattr(config, name) != getattr(first, name):
            logger.warning("%s has changed, which takes effect with the next start only", name)
    return generation(config, sockets)


def run_worker(
    config: Config, sockets: Sequence[socket.socket], slot: int, control: socket.socket
) -> None:
    """A worker's whole life, in its own process."""
    os.environ["HIPACHE_WORKER"] = str(slot)
    set_up_log(config, slot)
    worker.serve(
        uvicorn_config(create_app(config), log_config=None, lifespan="on"), sockets, control
    )


def become_user(config: Config) -> None:
    """Give root away once the ports are bound, as Hipache's workers did; its master kept it."""
    if os.geteuid() != 0 or config.user is None:
        return
    group = None if config.group is None else str(config.group)
    uid, gid = privileges.find_ids(str(config.user), group)
    try:
        hand_over(config.server.access_log, uid, gid)
    except OSError as exc:
        # It costs the log's lines, no more: a folder may come back, the workers try again.
        logger.warning("access log can not be handed over cause=%s", exc)
    if uid != 0:
        privileges.drop(uid, gid)


def name_of(sock: socket.socket) -> str:
    """The address a socket is bound to, as a person writes it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return str(Address(host, port))
