"""Old names of configuration keys, translated to those of Hipache 0.4. Pure.

Each Hipache renamed some keys, and 0.4 mistranslated a few (hipache.md 1.10,
point 22): `redisHost` was ignored in favour of a default, and `server.https`
without `server.address` listened nowhere. Here every form means what its own
version documented. Where an old and a new name are both there, the new one wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ..masking import show
from .messages import Origins, fault, read_json

Raw = dict[str, Any]

# Hipache 0.2 and 0.3 listened on all addresses unless told otherwise; 0.4 on 127.0.0.1.
ALL_IPV4 = "0.0.0.0"
ALL_ADDRESSES = [ALL_IPV4, "::"]


# Hipache knew these keys. Each that is set gets a warning, for it has no effect here.
NOT_HONOURED = {
    "secureProtocol": "TLS 1.2 and 1.3 are negotiated",
    "secureOptions": "TLS 1.2 and 1.3 are negotiated",
}
"""Keys of `https` and of its `bind` entries."""


def translate(raw: Raw, source: str) -> tuple[Raw, list[str], Origins]:
    """`raw` in today's names, what to tell about it, and where each key stood.

    Values that this does not need to understand are passed on unchecked.
    Raises ConfigError for an old key whose value makes no sense.
    """
    raw = dict(raw)
    warnings: list[str] = []
    origins = Origins()
    if isinstance(raw.get("server"), dict):
        raw["server"] = dict(raw["server"])
        _retries(raw["server"], warnings, origins)
        _lru_cache(raw["server"], warnings)
        _listeners(raw, warnings, origins)
    for section in ("http", "https"):
        if isinstance(raw.get(section), dict):
            raw[section] = dict(raw[section])
    _redis(raw, source, warnings)
    _forwarded_protocol(raw, warnings)
    return raw, warnings, origins


def without_effect(raw: Raw, origins: Origins) -> Iterator[str]:
    """What to tell about keys that are read for Hipache's sake."""
    for path, values in _speaking_tls(raw):
        for key, why in NOT_HONOURED.items():
            if values.get(key):
                yield f"{origins.of(path)}.{key} has no effect: {why}"


def modern(text: str, source: str) -> str:
    """The file `text` with today's names, and without what has no effect. Raises ConfigError."""
    raw, _, _ = translate(read_json(text, source), source)
    for _, values in _speaking_tls(raw):
        for key in NOT_HONOURED:
            values.pop(key, None)
    return json.dumps(raw, indent=4, ensure_ascii=False) + "\n"


def _speaking_tls(raw: Raw) -> Iterator[tuple[str, Raw]]:
    """Path and object of `https` and of those of its `bind` entries that are objects."""
    https = raw.get("https")
    if not isinstance(https, dict):
        return
    yield "https", https
    binds = https.get("bind")
    for index, bind in enumerate(binds if isinstance(binds, list) else [binds]):
        if isinstance(bind, dict):
            yield f"https.bind[{index}]", bind


def _forwarded_protocol(raw: Raw, warnings: list[str]) -> None:
    """Every Hipache sent this field. Old files go on sending it: a backend may read it."""
    used = [warning for warning in warnings if _IS_OLD in warning and "lruCache" not in warning]
    server = raw.get("server", {})
    if used and isinstance(server, dict) and "forwardedProtocol" not in server:
        raw["server"] = server | {"forwardedProtocol": True}
        why = "the file has old names; behind https gunicorn answers it with 400"
        warnings.append(f"server.forwardedProtocol is on: {why}")


_IS_OLD = " is an old name of "


def _renamed(old: str, new: str) -> str:
    return f"{old}{_IS_OLD}{new}"


def _superseded(old: str, new: str) -> str:
    return f"{old} is ignored, because {new} is there"


def _retries(server: Raw, warnings: list[str], origins: Origins) -> None:
    """Up to 0.1.10: `errorMaxRetries`."""
    if "errorMaxRetries" not in server:
        return
    value = server.pop("errorMaxRetries")
    if "retryOnError" in server:
        warnings.append(_superseded("server.errorMaxRetries", "server.retryOnError"))
        return
    server["retryOnError"] = value
    origins["server.retryOnError"] = "server.errorMaxRetries"
    warnings.append(_renamed("server.errorMaxRetries", "server.retryOnError"))


def _lru_cache(server: Raw, warnings: list[str]) -> None:
    """Up to 0.2.9 the code read `Size`; in 0.3 `true` meant no limit and no expiry."""
    value = server.get("lruCache")
    if isinstance(value, dict) and "Size" in value:
        value = dict(value)
        size = value.pop("Size")
        value.setdefault("size", size)
        server["lruCache"] = value
        warnings.append(_renamed("server.lruCache.Size", "server.lruCache.size"))
    elif "lruCache" in server and (value is None or isinstance(value, bool)):
        del server["lruCache"]
        warnings.append(
            f"server.lruCache: {show(value)} means its defaults: "
            "the cache is always on and told of changes by the store"
        )


def _listeners(raw: Raw, warnings: list[str], origins: Origins) -> None:
    """Up to 0.3: `server.port`, `.address`, `.address6`, `.https`."""
    server = raw["server"]
    old = {k: server.pop(k) for k in ("port", "address", "address6", "https") if k in server}
    if not old:
        return
    if "http" in raw:
        warnings.extend(_superseded(f"server.{k}", "http") for k in old if k != "https")
    else:
        raw["http"] = {"bind": _addresses(old)}
        if "port" in old:
            raw["http"]["port"] = old["port"]
        warnings.extend(_renamed(f"server.{k}", f"http.{_NOW[k]}") for k in old if k != "https")
        origins["http.port"] = "server.port"
        origins["http.bind"] = "server.address"
    if "https" not in old:
        return
    if "https" in raw:
        warnings.append(_superseded("server.https", "https"))
        return
    raw["https"] = old["https"]
    if isinstance(old["https"], dict):
        raw["https"] = {"bind": _addresses(old)} | old["https"]
    origins["https"] = "server.https"
    warnings.append(_renamed("server.https", "https"))


_NOW = {"port": "port", "address": "bind", "address6": "bind"}


def _addresses(old: Raw) -> list[Any]:
    """0.2 listened on all of IPv4 when only `address6` was given."""
    if "address" not in old and "address6" not in old:
        return list(ALL_ADDRESSES)
    found: list[Any] = []
    for value in (old.get("address", ALL_IPV4), old.get("address6", [])):
        found += value if isinstance(value, list) else [value]
    return found


# The role that each old key plays in a URL, for reading and for writing.
_READ = {"redis.host": "host", "redis.port": "port"} | {
    f"redis{role.capitalize()}": role for role in ("host", "port", "database", "password")
}
_WRITE = {f"redisMaster{role.capitalize()}": role for role in _READ.values()}


OLD_NAMES = (
    "server.errorMaxRetries",
    "server.port",
    "server.address",
    "server.address6",
    "server.https",
    *_READ,
    *_WRITE,
)


def _redis(raw: Raw, source: str, warnings: list[str]) -> None:
    """The seed's `redis: {host, port}`; 0.2's `redisHost`…; 0.3's `redisMasterHost`… for writes."""
    if "redis" in raw:
        seed = raw.pop("redis")
        if not isinstance(seed, dict):
            raise fault(source, "redis", f"expected an object, found {show(seed)}")
        if unknown := [name for name in seed if f"redis.{name}" not in _READ]:
            raise fault(source, f"redis.{unknown[0]}", "unknown key; redis has host and port")
        raw |= {f"redis.{name}": value for name, value in seed.items()}
    read = {name: raw.pop(name) for name in _READ if name in raw}
    write = {name: raw.pop(name) for name in _WRITE if name in raw}
    if not read and not write:
        return
    if "driver" in raw:
        warnings.extend(_superseded(name, "driver") for name in [*read, *write])
        return
    raw["driver"] = [_url(read, _READ, source)]
    warnings.extend(_renamed(name, "driver") for name in [*read, *write])
    if write.get("redisMasterHost"):
        raw["driver"].append(_url(write, _WRITE, source))
    elif write:
        warnings.append("redisMaster… keys are ignored without redisMasterHost")


def _url(values: Raw, roles: Mapping[str, str], source: str) -> str:
    """The driver's URL; what is null, empty or 0 counts as not given, as it did in Hipache."""
    parts: dict[str, str] = {}
    for name, value in values.items():
        role = roles[name]
        wanted, fits = _EXPECTED[role]
        if not fits(value):
            found = "" if role == "password" else f", found {show(value)}"
            raise fault(source, name, f"expected {wanted}{found}")
        if value:
            parts[role] = quote(str(value), safe=":")
    host = parts.get("host", "127.0.0.1")
    return "".join(
        (
            "redis://",
            f":{parts['password'].replace(':', '%3A')}@" if "password" in parts else "",
            f"[{host}]" if ":" in host else host,
            f":{parts['port']}" if "port" in parts else "",
            f"/{parts['database']}" if "database" in parts else "",
        )
    )


def _number(value: Any, high: int) -> bool:
    return value is None or (type(value) is int and 0 <= value <= high)


_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "host": ("a host name or address", lambda value: value is None or isinstance(value, str)),
    "port": ("a port from 1 to 65535", lambda value: _number(value, 65535)),
    "database": ("the number of a database", lambda value: _number(value, 2**31)),
    "password": ("a string", lambda value: value is None or isinstance(value, str)),
}
