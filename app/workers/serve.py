"""`hipache serve`: from a configuration to a supervisor with its workers."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from ..admin.metering import Supervision
from ..config.file import DEFAULTS
from ..config.structs import Config
from ..errors import ConfigError, StoreUnavailable
from ..logs import proxy_log
from ..logs.ownership import hand_over, why_closed
from ..main import create_app
from ..server.listeners import ListeningSocket, close_all
from ..server.running import uvicorn_config
from ..server.shared_loads import SharedLoads
from ..stores import driver_of
from ..system.open_files import raise_limit
from ..tls.certificates import CertificateFolder
from ..tls.listener import TLSListener
from ..tls.store_certificates import StoreCertificates
from ..tls.store_source import StoreSource, most_contexts
from . import privileges, worker
from .generation import Generation, Patience
from .issuing import run_issuer
from .listening import equipped_again, listen, listen_for_admin, name_of
from .predecessor import Predecessor
from .preloading import preload
from .sockets import ServiceSockets
from .start_checks import START_CHECKS, check_hooks, workers_ids
from .status import StatusSocket
from .successor import ROOT_IS_GONE
from .supervisor import Supervisor
from .systemd import Notifier

logger = logging.getLogger("hipache.serve")

ReadConfig = Callable[[], Config]


def serve(
    read: ReadConfig, environ: MutableMapping[str, str], program: Sequence[str] | None = None
) -> int:
    """Serve until told to stop; returns the exit status.

    `read` reads the configuration, now and at every SIGHUP; `program` is what an upgrade
    starts, None where this process cannot be replaced. Raises ConfigError for whatever
    keeps the service from starting; nothing was started then.
    """
    predecessor = Predecessor.of(environ)
    try:
        return serve_after(predecessor, read, environ, program)
    except ConfigError as exc:
        if predecessor is None or not predecessor.gave_up_root:
            raise
        raise ConfigError(f"{exc}{ROOT_IS_GONE}") from None


def serve_after(
    predecessor: Predecessor | None,
    read: ReadConfig,
    environ: Mapping[str, str],
    program: Sequence[str] | None,
) -> int:
    """The same, on the sockets of a predecessor where there is one."""
    config = read()
    set_up_log(config)
    if config.source == DEFAULTS:
        logger.info("no configuration file, the defaults apply looked_for=config.json")
    raise_limit()
    for check in START_CHECKS:
        check.ask(config)
    sockets = ServiceSockets(predecessor.offers if predecessor is not None else ())
    listeners = listen(config, sockets, environ)
    supervision = Supervision(
        listen_for_admin(config, sockets), os.getpid(), loads=SharedLoads.made()
    )
    preload()  # while we can read all that is installed
    gave_up_root = become_user(config) or (predecessor is not None and predecessor.gave_up_root)
    open_log(config)
    with store_held(config):
        for listener in listeners:
            scheme = "https" if listener.tls else "http"
            logger.info("listening address=%s scheme=%s", name_of(listener.sock), scheme)
        path = config.server.status_socket
        status = StatusSocket.open(path, sockets) if path is not None else None
        sockets.refuse_rest()
        if predecessor is not None:
            predecessor.use_own_stderr()
        supervisor = Supervisor(
            generation(config, listeners, supervision),
            sockets,
            reload=partial(reloaded, read, config, listeners, supervision),
            on_stop=partial(close_all, [listener.sock for listener in listeners]),
            status=status,
            notifier=Notifier(environ, main=predecessor is None),
            program=program,
            predecessor=predecessor,
            gave_up_root=gave_up_root,
        )
        try:
            return supervisor.run()
        finally:
            supervision.close()


@contextmanager
def store_held(config: Config) -> Iterator[None]:
    """Keep a store of our own running over all workers' lives. Raises ConfigError."""
    try:
        held = driver_of(config).hold()
        held.__enter__()
    except StoreUnavailable as exc:
        raise ConfigError(f"{config.source}: driver: {exc}") from exc
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def set_up_log(config: Config, worker: int | None = None) -> None:
    """Our own log, as the configuration wants it."""
    log_format, debug = config.server.log_format, config.server.debug
    proxy_log.set_up(log_format, debug=debug, worker=worker, serves=worker is not None)
    for warning in config.warnings if worker is None else ():
        logger.warning("%s", warning)


def generation(
    config: Config, listeners: Sequence[ListeningSocket], supervision: Supervision
) -> Generation:
    """The workers that this configuration asks for."""
    return Generation(
        workers=config.server.workers or len(os.sched_getaffinity(0)),
        main=partial(run_worker, config, listeners, supervision),
        patience=Patience(
            graceful_timeout=config.server.graceful_timeout,
            recycle_grace=config.memory.graceful_wait,
        ),
        companion=partial(run_issuer, config) if config.https.acme.agree else None,
    )


def reloaded(
    read: ReadConfig, first: Config, listeners: Sequence[ListeningSocket], supervision: Supervision
) -> Generation | None:
    """The generation of the file as it is now; a bad file is named and the old one stays.

    `first` is what was read at the start: what that bound stays bound.
    """
    try:
        config = read()
        check_hooks(config)
        listeners = equipped_again(config, first, listeners)
    except ConfigError as exc:
        logger.error("configuration refused, the old one stays: %s", exc)
        return None
    for name in ("user", "group", "admin"):
        if getattr(config, name) != getattr(first, name):
            logger.warning("%s has changed, which takes effect with the next start only", name)
    # What the workers count together must be counted alike by all of them.
    return generation(replace(config, admin=first.admin), listeners, supervision)


def run_worker(
    config: Config,
    listeners: Sequence[ListeningSocket],
    supervision: Supervision,
    slot: int,
    control: socket.socket,
) -> None:
    """A worker's whole life, in its own process."""
    os.environ["HIPACHE_WORKER"] = str(slot)
    set_up_log(config, slot)
    secured = [listener.tls for listener in listeners if listener.tls is not None]
    with ExitStack() as stack:
        if secured:
            add_stored(config, secured, stack)
        app = create_app(config, supervision=supervision)
        uvicorn_settings = uvicorn_config(app, log_config=None, lifespan="on")
        worker.serve(uvicorn_settings, listeners, control, supervision.hand_over, supervision.loads)


def add_stored(config: Config, secured: Sequence[TLSListener], stack: ExitStack) -> None:
    """Let the listeners serve the store's certificates, or those of our own folder."""
    acme, driver = config.https.acme, driver_of(config)
    certs = driver.issuance(acme.folder, timeout=1).certs if acme.agree else None
    stored, most = StoreCertificates.of(driver), most_contexts(config.memory, len(secured))
    for tls in secured:
        if stored is not None:
            tls.add_source(lambda new: StoreSource(stored, new, most).context)
        if certs is not None:
            tls.add_source(lambda new: CertificateFolder(new, certs, most).context)
    if stored is not None:
        stack.callback(stored.close)


def become_user(config: Config) -> bool:
    """Give root away once the ports are bound, as Hipache's workers did; its master kept it.

    False where there was nothing to give away.
    """
    if (ids := workers_ids(config)) is None:
        return False
    uid, gid = ids
    with suppress(OSError):  # whether they can write it is asked when we are they
        if (log := config.server.access_log) is not None:
            hand_over(log.value, uid, gid)
    for path in (config.server.status_socket, config.server.snapshot):
        if path is not None:
            privileges.make_folder(Path(path).parent, uid, gid)
    if config.https.acme.agree:
        folder = Path(config.https.acme.folder)
        for each in (folder.parent, folder):
            privileges.make_folder(each, uid, gid)
    if uid != 0:
        privileges.drop(uid, gid)
        warn_of_library(str(config.user))
    return uid != 0


def open_log(config: Config) -> None:
    """Raises ConfigError if the access log cannot be opened, against what `check_log` expects."""
    log = config.server.access_log
    if log is not None and (why := why_closed(log.value)):
        raise ConfigError(f"{config.source}: server.accessLog: {log}: {why}")


def warn_of_library(user: str) -> None:
    """Warn if `user`, who runs this, cannot read what a worker may come to import."""
    if (closed := privileges.unreadable(library=True)) is not None:
        logger.warning(
            "Python's library is closed to the workers, what they import later fails "
            "user=%s folder=%s",
            user, closed,
        )  # fmt: skip
