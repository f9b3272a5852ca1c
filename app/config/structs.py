"""What `config.json` may say: the structs, their defaults and ranges, and `parse`. Opens no file.

Attributes are snake_case, names in the file are Hipache's camelCase. All times are seconds, and 0
switches a limit off. `legacy` translates old keys, `normalise` writes out short forms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..fields.networks import Networks
from ..masking import masked, show
from . import messages
from .acme import check_acme
from .admin import AdminConfig, check_admin
from .alerts import Alert
from .backend_tls import BackendTLS
from .binds import Bind, HttpConfig, HttpsBind, HttpsConfig
from .checks import check_address, check_health_check, check_id_field, check_tls
from .http2_limits import Http2Limits
from .legacy import OLD_NAMES, translate, without_effect
from .lru_cache import LruCache
from .memory import MemoryConfig
from .messages import Origins
from .normalise import overlay, write_out
from .parsed import (
    AccessLogFormat,
    AccessLogTarget,
    BalancePolicy,
    DenyBackends,
    DropFields,
    HashBy,
    StickyCookie,
    TrustedProxies,
    decode,
    encode,
)
from .places import Places
from .store_address import StoreAddress
from .types import Count, Seconds, Section


class ServerConfig(Section, frozen=True, kw_only=True):
    """The `server` object."""

    workers: Annotated[int, Meta(ge=0, le=1024)] = 0  # processes; 0 means one per core
    graceful_timeout: Seconds = 30.0  # from SIGTERM until what still runs is cut
    status_socket: str | None = ".hipache/status.sock"  # where `hipache status` asks
    debug: bool = False  # the proxy's own log tells every request

    # to a backend
    max_sockets: Annotated[int, Meta(ge=1, le=1_000_000)] = 100  # per backend and per worker
    max_sockets_shared: bool = False  # per backend, for all workers of this proxy together
    tcp_timeout: Seconds = 30.0  # nothing moved in either direction
    connect_timeout: Seconds = 3.0
    resolve_interval: Annotated[float, Meta(ge=1, le=3600)] = 30.0  # until a move is followed
    response_timeout: Seconds | None = None  # until the answer's head; None means tcp_timeout
    queue_timeout: Seconds = 5.0  # waiting for one of max_sockets
    max_queue: Count = 1000  # requests that wait for one; more are answered 503
    slow_client_grace: Seconds = 2.0  # of a client that does nothing while others wait
    deny_backends: DenyBackends = DenyBackends(())  # networks, names, unix:/paths
    http_keep_alive: bool = True  # Hipache's default was false
    backend_idle_timeout: Seconds = 60.0  # an unused connection is kept as long
    backend_max_age: Seconds = 0.0  # a connection is reused until this age
    backend_ping: Seconds = 10.0  # without a byte on a connection of HTTP/2 with open requests

    # retries and marks
    retry_on_error: Annotated[int, Meta(ge=0, le=100)] = 3  # after the first attempt
    retry_timeouts: bool = False  # a GET or HEAD whose answer takes too long, too
    retry_buffer: Count = 65_536  # bytes of a request's body held for a retry
    retry_memory: Count = 32 * 2**20  # bytes of bodies and messages held in all
    dead_backend_ttl: Seconds = 30.0
    dead_backend_max_ttl: Seconds = 300.0  # the time doubles up to this with each failed trial
    dead_backend_on500: bool = True  # is evidence against a backend, as 502 is

    # the store
    lru_cache: LruCache = LruCache()
    store_timeout: Seconds = 1.0  # one read
    store_reads: Annotated[int, Meta(ge=1, le=48)] = 8  # at once, of each worker
    rate_limit_timeout: Annotated[float, Meta(gt=0, le=60)] = 0.1  # for a count shared by proxies
    snapshot: str | None = ".hipache/routes.json"  # the last known routes; None keeps none

    # the client's side
    max_request_line: Annotated[int, Meta(ge=512, le=1_048_576)] = 16_384  # bytes; else 414
    max_header_size: Annotated[int, Meta(ge=1024, le=16_777_216)] = 65_536  # the whole head; 431
    max_headers: Annotated[int, Meta(ge=10, le=10_000)] = 200  # fields; else 431
    max_body: Annotated[int, Meta(ge=0, le=2**62)] = 0  # bytes; else 413
    header_timeout: Seconds = 10.0  # until the head is there; else 408
    keep_alive_timeout: Seconds = 75.0  # between two requests
    max_requests_per_connection: Count = 0
    http2: Http2Limits = Http2Limits()  # what one connection over HTTP/2 may ask for
    max_loop_lag: Seconds = 0.5  # of the event loop, before requests are turned away
    max_connections: Count = 0  # per worker; 0 means as many as the open files allow
    max_connections_per_address: Count = 0  # per worker
    debug_from: Networks = Networks.parse(["127.0.0.0/8", "::1/128"])  # may ask with X-Debug
    debug_secret: str | None = None  # signs what `hipache debug-ticket` prints; None: no tickets
    trusted_proxies: TrustedProxies = TrustedProxies(())  # networks, unix:; their claims pass
    drop_fields: DropFields = DropFields(())  # more claims that pass from nobody else
    forwarded: bool = False  # send Forwarded (RFC 7239) beside X-Forwarded-*
    forwarded_protocol: bool = False  # send Hipache's X-Forwarded-Protocol; gunicorn refuses it
    via: bool = True  # send Via (RFC 9110 §7.6.3); CDN-Loop in its place
    request_id_header: str | None = None  # the field of answers that tells clients the id
    static_dir: str | None = None  # error_<status>.html, as Hipache's static/
    templates_dir: str | None = None  # <status>.html, before the built-in pages

    # WebSockets
    web_socket_relay: bool = False  # relay messages through ASGI, do not tunnel bytes
    web_socket_close_timeout: Seconds = 10.0  # for the answer to a close frame
    web_socket_idle_timeout: Seconds = 0.0  # no byte in either direction
    web_socket_max_message: Count = 64 * 1024 * 1024  # bytes of one message, in the relay
    web_socket_ping: Seconds = 20.0  # between the relay's pings to either side
    web_socket_compression: bool = False  # per leg of the relay; a tunnel's ends agree themselves

    # logs
    access_log: AccessLogTarget | None = AccessLogTarget("/var/log/hipache/access.log")
    access_log_format: AccessLogFormat = AccessLogFormat("hipache")  # or combined, json, a template
    log_format: str = "text"  # of the proxy's own log: text or json
    flight_recorder: bool = True  # keep what `hipache why` and `hipache failures` tell
    slow_request: Seconds = 1.0  # kept as slow from this on; 0 keeps none for being slow
    tracing: bool = False  # OpenTelemetry spans, as $OTEL_* says; needs the extra otel
    hooks: str | None = None  # a Python module whose functions requests meet


class Balance(Section, frozen=True, kw_only=True):
    """The `balance` object: what holds where `options:<host>` says nothing else."""

    policy: BalancePolicy = BalancePolicy("random")
    hash: HashBy = HashBy("client")  # or header:NAME or cookie:NAME, for the policy of that name
    sticky: StickyCookie | None = None  # on, or the name of the cookie
    slow_start: Seconds = 0.0  # until a backend that came back has its full share
    panic: bool = True  # when all are dead, try the one marked longest ago before a 502
    wake_timeout: Annotated[float, Meta(ge=0, le=600)] = 30.0  # a request waits for a wake so long
    secret: str | None = None  # of the sticky cookie; None derives it from driver


class HealthCheck(Section, frozen=True, kw_only=True):
    """The `healthCheck` object. Without it nothing is checked actively.

    `healthcheck:<host>` in Redis overrides path, status and body for one frontend.
    """

    path: str | None = None  # asked of every backend; None checks where Redis names one
    method: Literal["GET", "HEAD"] = "GET"
    status: Annotated[int, Meta(ge=0, le=599)] = 0  # the only good one; 0 means any below 500
    body: str | None = None  # a text that the answer must contain
    interval: Annotated[float, Meta(ge=0.1, le=86_400)] = 10.0
    timeout: Annotated[float, Meta(gt=0, le=86_400)] = 3.0  # for one check as a whole
    rise: Annotated[int, Meta(ge=1, le=1000)] = 2  # good checks in a row revive a backend
    fall: Annotated[int, Meta(ge=1, le=1000)] = 3  # bad ones in a row kill it


class _File(Section, frozen=True, kw_only=True):
    server: ServerConfig = ServerConfig()
    http: HttpConfig = HttpConfig()
    https: HttpsConfig = HttpsConfig()
    backend_tls: BackendTLS = BackendTLS()
    balance: Balance = Balance()
    memory: MemoryConfig = MemoryConfig()
    admin: AdminConfig = AdminConfig()
    health_check: HealthCheck | None = None
    alerts: tuple[Alert, ...] = ()  # who is told when something dies
    driver: tuple[StoreAddress, ...] = (StoreAddress("redis:"),)  # one, or (read, write)
    user: str | int | None = "www-data"  # to become after binding, if root; None stays root
    group: str | int | None = None  # None means the user's own


class Config(_File, frozen=True, kw_only=True):
    """All of `config.json`, with every default filled in, and what is to be said about it."""

    server: ServerConfig = ServerConfig(access_log=None)  # no file: code may run anywhere
    source: str = "defaults"  # the file's name, for messages
    driver_from: str | None = None  # the variable that named the driver, for messages
    places: Places = Places()  # where the driver's relative paths begin
    warnings: tuple[str, ...] = ()  # one line each: old names, keys without effect

    def __post_init__(self) -> None:
        """A driver in code may be texts, or one, as in the file."""
        urls = (self.driver,) if isinstance(self.driver, str) else self.driver
        msgspec.structs.force_setattr(self, "driver", tuple(map(StoreAddress, urls)))


# Keys of other proxies. To suggest a near name for them would mislead.
NOT_OFFERED = {"http2": "HTTP/2 is switched on by https.http2 and http.http2"}


def parse(
    text: str, *, source: str = "config.json", environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration that `text` (JSON) and the environment describe.

    `$REDIS_URL` wins over the file's driver, `$PORT` over the port of `http`
    (and listens on all IPv4 addresses if the file names none), and
    `$WEB_CONCURRENCY` over `server.workers`, as platforms that set them expect.

    What a URL of `driver` means, and whether it can be used, `stores.driver_of` knows.
    Raises ConfigError: one line with `source`, key, what was expected and found.
    """
    raw, warnings, origins = translate(messages.read_json(text, source), source)
    warnings += without_effect(raw, origins)
    overlay(raw, environ or {})
    write_out(raw)
    file = messages.convert(
        raw, _File, source=source, origins=origins, hook=decode, old_names=OLD_NAMES,
        not_offered=NOT_OFFERED,
    )  # fmt: skip
    _check(file, source, origins)
    return Config(
        **msgspec.structs.asdict(file), source=source, warnings=tuple(warnings),
        driver_from="$REDIS_URL" if (environ or {}).get("REDIS_URL") else None,
    )  # fmt: skip


def _check(config: _File, source: str, origins: Origins) -> None:
    """Check what types and ranges cannot express. Raises ConfigError."""
    check_id_field(config.server.request_id_header, source)
    if config.server.log_format not in ("text", "json"):
        found = show(config.server.log_format)
        raise messages.fault(source, "server.logFormat", f"expected text or json, found {found}")
    if config.backend_tls.key and not config.backend_tls.cert:
        raise messages.fault(source, "backendTLS.key", "expected a backendTLS.cert to go with it")
    check_admin(config.admin, source)
    check_acme(config.https.acme, source)
    if config.health_check is not None:
        check_health_check(config.health_check.path, source)
    listeners: dict[str, tuple[Bind | HttpsBind, ...]]
    listeners = {"http": config.http.binds, "https": config.https.binds}
    for section, binds in listeners.items():
        for index, bind in enumerate(binds):
            path = origins.of(f"{section}.bind[{index}]")
            check_address(bind.address, source, path)
            if isinstance(bind, HttpsBind):
                check_tls(bind, source, path, acme=config.https.acme)


def render(config: Config, *, drivers: Sequence[str] | None = None) -> str:
    """The effective configuration as JSON, secrets masked; `drivers`: URLs as the driver shows."""
    values = msgspec.to_builtins(config, enc_hook=encode)
    shown = masked({name: values[name] for name in _File.__struct_encode_fields__})
    return json.dumps(shown if drivers is None else shown | {"driver": drivers}, indent=4)
