"""The exception tree. A class exists where some code treats it differently.

    HipacheError
    ├── ConfigError              exit status 78, one line
    └── ProxyError               a request the proxy answers itself, with `status`
        ├── BadHost              400
        ├── FrontendNotFound     400
        ├── StoreUnavailable     503
        ├── NoLiveBackend        502
        ├── InvalidBackend       502
        ├── RequestBodyMismatch  400
        ├── Unauthorized         401
        ├── Forbidden            403
        ├── UnderMaintenance     503
        ├── StillWaking          503, a backend is being started
        ├── NotAwake             503
        ├── TooManyRequests      429
        ├── Overloaded           503
        ├── AccessUnreadable     500
        ├── AccessUnknown        503
        ├── HookFailed           500
        ├── LoopDetected         508
        ├── PassedOn             the answer of an authorization service, as it is
        └── UpstreamError        502, an attempt at a backend failed
            ├── UpstreamUnreachable      no connection was made: no byte was sent
            │   ├── BackendForbidden         502, where the proxy never connects
            │   │   ├── BackendIsUs          508
            │   │   └── WebSocketsUnsupported  502
            │   ├── UpstreamConnectTimeout   504
            │   ├── UpstreamTLSFailure       502
            │   ├── UpstreamExhausted        503, this machine has no file or port left
            │   └── UpstreamUnresolved       503, this machine's resolver does not answer
            ├── UpstreamBusy             503, no free connection within queueTimeout
            ├── UpstreamPreempted        503, the connection was given to others that waited
            │   └── SlowClient               408, because its client did nothing
            ├── UpstreamStale            502, a kept connection was closed before an answer
            ├── UpstreamReset            502, closed after the request, before the head
            ├── UpstreamRefused          502, the backend refused the stream unseen
            ├── UpstreamTimeout          504, no head, or no progress, in time
            ├── UpstreamBadAnswer        502, what came is not HTTP we may pass on
            └── UpstreamCut              502, the answer's body ended early

The messages are Hipache's where it had one (lib/worker.js, hipache 0.3.1):
they go to the error page, the log and `x-debug-error`.
"""

from .refusals import (
    AccessUnknown,
    AccessUnreadable,
    BadHost,
    Forbidden,
    FrontendNotFound,
    HookFailed,
    InvalidBackend,
    LoopDetected,
    NoLiveBackend,
    NotAwake,
    Overloaded,
    PassedOn,
    RequestBodyMismatch,
    StillWaking,
    StoreUnavailable,
    TooManyRequests,
    Unauthorized,
    UnderMaintenance,
)
from .roots import EX_CONFIG, ConfigError, HipacheError, ProxyError
from .upstream import (
    BackendForbidden,
    BackendIsUs,
    SlowClient,
    UpstreamBadAnswer,
    UpstreamBusy,
    UpstreamConnectTimeout,
    UpstreamCut,
    UpstreamError,
    UpstreamExhausted,
    UpstreamPreempted,
    UpstreamRefused,
    UpstreamReset,
    UpstreamStale,
    UpstreamTimeout,
    UpstreamTLSFailure,
    UpstreamUnreachable,
    UpstreamUnresolved,
    WebSocketsUnsupported,
)

__all__ = [
    "EX_CONFIG",
    "AccessUnknown",
    "AccessUnreadable",
    "BackendForbidden",
    "BackendIsUs",
    "BadHost",
    "ConfigError",
    "Forbidden",
    "FrontendNotFound",
    "HipacheError",
    "HookFailed",
    "InvalidBackend",
    "LoopDetected",
    "NoLiveBackend",
    "NotAwake",
    "Overloaded",
    "PassedOn",
    "ProxyError",
    "RequestBodyMismatch",
    "SlowClient",
    "StillWaking",
    "StoreUnavailable",
    "TooManyRequests",
    "Unauthorized",
    "UnderMaintenance",
    "UpstreamBadAnswer",
    "UpstreamBusy",
    "UpstreamConnectTimeout",
    "UpstreamCut",
    "UpstreamError",
    "UpstreamExhausted",
    "UpstreamPreempted",
    "UpstreamRefused",
    "UpstreamReset",
    "UpstreamStale",
    "UpstreamTLSFailure",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "UpstreamUnresolved",
    "WebSocketsUnsupported",
]
