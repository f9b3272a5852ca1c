"""The process that orders certificates, as the supervisor starts it beside the workers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from time import monotonic
from uuid import uuid4

import psutil

from ..config.structs import Config
from ..stores import driver_of
from .process import REPORT_INTERVAL, ControlChannel

logger = logging.getLogger("hipache.acme")

STORE_TIMEOUT = 5.0
"""Seconds for each answer of the store."""


def run_issuer(config: Config, slot: int, control: socket.socket) -> None:
    """Order certificates until SIGTERM, or until the supervisor at `control` is gone."""
    # A terminal's Ctrl-C reaches every process; the supervisor says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(asyncio.CancelledError):
        asyncio.run(_issue(config, control))


async def _issue(config: Config, control: socket.socket) -> None:
    # Only this process needs these libraries, and the memory that they take.
    from ..tls.acme.issuer import Issuer

    acme, driver = config.https.acme, driver_of(config)
    loop, working = asyncio.get_running_loop(), asyncio.current_task()
    assert working is not None

    def end() -> None:
        loop.remove_reader(control)
        if not working.cancelling():  # a second end must not stop what gives the lease back
            working.cancel()

    loop.add_reader(control, end)  # nobody writes there: it is the end
    loop.add_signal_handler(signal.SIGTERM, end)
    store = driver.issuance(acme.folder, timeout=STORE_TIMEOUT)
    table = driver.table()
    telling = loop.create_task(_tell_alive(ControlChannel(control)), name="alive")
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    try:
        await Issuer(acme, store, table, holder).run()
    finally:
        telling.cancel()
        await store.aclose()
        await table.aclose()


async def _tell_alive(channel: ControlChannel) -> None:
    """What hangs does not get here, and is replaced."""
    process, started = psutil.Process(), monotonic()
    while True:
        age, rss = round(monotonic() - started, 1), process.memory_info().rss
        channel.send(say="alive", age=age, rss=rss)
        await asyncio.sleep(REPORT_INTERVAL)
