"""Ports of loopback for programs that cannot be given port 0."""

import random
import socket
from contextlib import suppress
from itertools import cycle
from pathlib import Path

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The ports that the system gives to connections and to port 0 (ip(7))."""
LOWEST, HIGHEST = 12_000, 65_535

_held: list[socket.socket] = []


def candidates(low: int, high: int) -> range:
    """The ports that the system gives to nobody: those below its range, or those above it."""
    return range(LOWEST, low) if low - LOWEST > HIGHEST - high else range(high + 1, HIGHEST + 1)


def _outgoing() -> tuple[int, int]:
    with suppress(OSError):
        low, high = OUTGOING.read_text().split()
        return int(low), int(high)
    return 32_768, 60_999


def _shuffled() -> list[int]:
    ports = list(candidates(*_outgoing()))
    random.Random().shuffle(ports)  # a test that seeds `random` does not choose our ports
    return ports


_ports = cycle(_shuffled())


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, for the life of this process.

    Between the question which port is free and the server that binds it, another process could
    take it: a test that runs beside this one, a connection. So the port is none that the system
    gives by itself, and a socket here stays bound to it. That socket never listens and allows
    its address to be reused: a server that does the same (all do) may bind the port, and
    `free_port` of another process may not.
    """
    for port in _ports:
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
        return port
    raise AssertionError("there is always a next port")


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
