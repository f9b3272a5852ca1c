"""URLs of Redis: the server, the database, the user. Pure.

`redis://[user[:password]@]host[:port][/db][#prefix]` and `rediss://` as Hipache 0.4 wrote them
(lib/drivers/redis.js), `unix:///path/to.sock`, `redis+sentinel://host[:port],host.../service[/db]`,
`redis+cluster://host[:port],host...[?keys=tagged]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from ...config.store_address import StoreAddress
from ...masking import masked_url, show

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
SCHEMES = ("redis", "rediss", "unix", *SENTINEL_SCHEMES)
ALL_SCHEMES = (*SCHEMES, *CLUSTER_SCHEMES)
DEFAULT_PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisURL:
    """One URL, taken apart."""

    scheme: str
    """One of ALL_SCHEMES."""
    addresses: tuple[tuple[str, int], ...] = ()
    """Host and port; several for Sentinel and for a cluster."""
    path: str = ""
    """Of the socket."""
    service: str = ""
    """The name of the master that Sentinel watches."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    prefix: str = ""
    """Goes before every key."""
    tls: tuple[tuple[str, str], ...] = ()
    """`cafile`, `certfile`, `keyfile` and `verify` of the query."""
    tagged: bool = False
    """The names of a host's keys have a hash tag: they are in one slot of a cluster."""

    @property
    def name(self) -> str:
        """The URL without secrets, for logs.

        >>> parse_url(StoreAddress("redis://:secret@db.internal/2#a:")).name
        'redis://db.internal:6379/2#a:'
        """
        user = f"{self.username}@" if self.username else ""
        where = self.path or ",".join(_host_port(*address) for address in self.addresses)
        service = f"/{self.service}" if self.service else ""
        database = f"/{self.database}" if self.database and not self.path else ""
        prefix = f"#{self.prefix}" if self.prefix else ""
        return f"{self.scheme}://{user}{where}{service}{database}{prefix}"


def parse_url(address: StoreAddress) -> RedisURL:
    """A URL of Redis taken apart. Raises ValueError, whose text shows no password."""
    try:
        if address.scheme not in ALL_SCHEMES:
            raise ValueError(f"expected one of {', '.join(f'{name}:' for name in ALL_SCHEMES)}")
        return _parse(address.scheme, address)
    except ValueError as exc:
        raise ValueError(f"{exc}, found {show(masked_url(address))}") from None


def _parse(scheme: str, address: StoreAddress) -> RedisURL:
    url = urlsplit(address)
    credentials, _, hosts = url.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    query = dict(parse_qsl(url.query))  # as redis-py names them
    username = query.pop("username", unquote(username))
    password = query.pop("password", unquote(password))
    parts = [part for part in url.path.split("/") if part]
    service = ""
    if scheme in SENTINEL_SCHEMES:
        if not parts:
            raise ValueError(f"expected {scheme}://host:port,host:port/service")
        service = parts.pop(0)
    if scheme == "unix":
        path, parts = unquote(url.path), []
        if not path.startswith("/"):
            raise ValueError("expected unix:///path/to/redis.sock")
    else:
        path = ""
    database = query.pop("db", "") or (parts[0] if parts else "0")
    tls = {
        key: query.pop(key) for key in ("cafile", "certfile", "keyfile", "verify") if key in query
    }
    if tls.get("verify", "true") not in ("true", "false"):
        raise ValueError("expected verify=true or verify=false")
    keys = query.pop("keys", "plain") if scheme in CLUSTER_SCHEMES else "plain"
    if keys not in ("plain", "tagged"):
        raise ValueError("expected keys=plain or keys=tagged")
    if query:
        raise ValueError(f"unknown parameter {next(iter(query))}")
    if not re.fullmatch(r"[0-9]{1,5}", database) or len(parts) > 1:
        raise ValueError("expected a database number, as in /0")
    if scheme in CLUSTER_SCHEMES and int(database):
        raise ValueError("a cluster has no databases: expected none, or /0")
    port = SENTINEL_PORT if scheme in SENTINEL_SCHEMES else DEFAULT_PORT
    return RedisURL(
        scheme=scheme,
        addresses=() if path else _addresses(hosts, port),
        path=path,
        service=unquote(service),
        username=username or None,
        password=password or None,
        database=int(database),
        prefix=unquote(url.fragment),
        tls=tuple(tls.items()),
        tagged=keys == "tagged",
    )


def _addresses(hosts: str, default_port: int) -> tuple[tuple[str, int], ...]:
    addresses: list[tuple[str, int]] = []
    for part in hosts.split(","):
        url = urlsplit(f"//{part}")
        try:
            port = default_port if url.port is None else url.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("expected redis://[user]:password@host:port/database#prefix")
        addresses.append((url.hostname or "127.0.0.1", port))
    return tuple(addresses)


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
