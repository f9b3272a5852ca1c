"""What this proxy would do with a request, for `hipache explain` and the dashboard."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import quote, urlsplit

from ..balancing.balancer import Balancer
from ..balancing.explain import Explanation, decided, not_forwarded, refused
from ..balancing.explain import explain as explained
from ..balancing.sticky import secret_of
from ..config.defaults import default_options
from ..config.structs import Config
from ..errors import BadHost, HipacheError, HookFailed, ProxyError, StoreUnavailable, Unauthorized
from ..fields.forwarded import ForwardedFields
from ..fields.headers import field, only
from ..frontends.backends import ALPN, HTTP2
from ..frontends.passwords import credentials
from ..frontends.protection import Protection
from ..hooks.hook_calls import HookCalls
from ..hooks.hook_loading import told
from ..hooks.hook_moments import hooked_by
from ..logs.record import AccessRecord
from ..proxy.assembly import make_added_fields, make_decisions, make_forwarded
from ..proxy.decision import Decisions, OwnAnswer, Redirect, settled
from ..proxy.guards.gate import check_address, check_maintenance, check_readable
from ..proxy.guards.overload import Overload
from ..proxy.request import Request
from ..routing import Route, lookup_keys, normalise_host
from ..server.peer import Peer
from ..stores.routes import Routes
from ..system.http2_extra import lacking
from ..upstream.destinations import configured

KEPT_IN_TARGET = "/%:@!$&'()*+,;=~-._"
"""Characters of a path that stay as they are (RFC 3986 §3.3); `%` begins an escape."""


LONGEST_BODY = 80
"""Bytes of a hook's answer that are shown."""


class NoSuchRequest(HipacheError):
    """No client can ask for this; the text says why."""


async def explanation_of(
    request: Request,
    routes: Routes,
    config: Config,
    in_flight: Callable[[str], Awaitable[Mapping[str, int] | None]],
    *,
    for_client: bool,
    marks_are_shared: bool = True,
    hooks: HookCalls | None = None,
) -> Explanation:
    """What the proxy would do: its own decision, then the backends that may be chosen.

    `in_flight` tells requests in flight by URL, from a frontend's key; `hooks` are asked, too.
    Raises StoreUnavailable.
    """
    balancer = _balancer(config)
    answer, from_hook = await _answer(request, routes, config, balancer, hooks)
    route, host = request.route, _host(request)
    of_hooks = () if from_hook else _of_hooks(request, routes, config, hooks)
    if route is None:
        keys = () if from_hook else lookup_keys(host)
        found = not_forwarded(host or request.host.decode(), keys, answer)
        return replace(found, remarks=of_hooks)
    objection = configured(config).objection
    backends = route.frontend.backends
    denied = {
        each.url: why for each in backends if (why := objection(each) or lacking(each.scheme))
    }
    found = explained(
        host, lookup_keys(host), route.frontend, route.marks, default_options(config),
        now=time.time(), in_flight=await in_flight(route.frontend.key), denied=denied,
    )  # fmt: skip
    remarks = [f"never connected to: {url}: {why}" for url, why in denied.items()]
    if not marks_are_shared:
        remarks.insert(0, "marks live in each worker and are not known here")
    remarks += of_hooks
    if request.web_socket and {each.scheme for each in backends} & (HTTP2 - {ALPN}):
        remarks.append(
            "backends with h2c take WebSockets by RFC 8441 only, if their SETTINGS have "
            "ENABLE_CONNECT_PROTOCOL; if not, the answer is 502"
        )
    found = replace(found, remarks=(*found.remarks, *remarks))
    if answer:
        return refused(found, answer)
    return _for_client(found, request, balancer, denied) if for_client else found


async def _answer(
    request: Request,
    routes: Routes,
    config: Config,
    balancer: Balancer,
    hooks: HookCalls | None,
) -> tuple[str, bool]:
    """How the proxy answers by itself, empty if the request goes to a backend; whether it is a
    hook that answers."""
    forwarded = make_forwarded(config)
    make_added_fields(config, forwarded).add(request)
    decisions = make_decisions(
        config, routes, balancer,
        examine=partial(_examine, forwarded), overload=Overload(0.0, time.monotonic),
        kind=Decisions if hooks is None else hooked_by(hooks).kind,
    )  # fmt: skip
    if (probe := decisions.probe(request.host)) is not None:
        return f"{probe.status} {probe.body.decode()}, from the proxy itself", False
    try:
        decision = await settled(decisions.decide(request))
    except HookFailed as error:
        return f"{error.status} {error}: {told(error.__cause__ or error)}", True
    except StoreUnavailable:
        raise  # this command cannot know what the workers remember
    except ProxyError as error:
        return f"{error.status} {error}", False
    if isinstance(decision, Redirect):
        return f"{decision.status} to {decision.location.decode('latin-1')}", False
    if isinstance(decision, OwnAnswer):
        return f"{_shown(decision)}, by the hook on_request of {config.server.hooks}", True
    return "", False


def _shown(answer: OwnAnswer) -> str:
    """An answer in a line."""
    location = field(list(answer.fields), b"location")
    if location is not None:
        return f"{answer.status} to {location.decode('latin-1')}"
    return f"{answer.status} {answer.body[:LONGEST_BODY].decode('utf-8', 'replace')!r}"


def _of_hooks(
    request: Request, routes: Routes, config: Config, hooks: HookCalls | None
) -> tuple[str, ...]:
    """What the hooks have to do with a request that none of them answers."""
    name = config.server.hooks
    if name is None:
        return ()
    if hooks is None:
        return (
            f"hooks of {name} were not asked: they may decide otherwise; explain --hooks asks them",
        )
    has, said = hooks.hooks, []
    if has.on_request is not None:
        said.append(f"the hook on_request of {name} lets it pass")
    if has.on_route is not None and (route := request.route) is not None:
        led = route is not routes.known(_host(request), request.target)
        said.append(
            f"the hook on_route of {name} " + ("chooses the route" if led else "lets it pass")
        )
    if has.on_response is not None:
        said.append(f"the hook on_response of {name} sees the answer's fields, and may change them")
    return tuple(said)


def _examine(
    forwarded: ForwardedFields, request: Request, route: Route, protection: Protection
) -> None:
    """Apply the access rules that depend on nothing but the request.

    Rates and requests in flight are known to the workers only, and an authorization service
    would count the question as a request. Without --client and without an `Authorization` field
    nothing is known of the client: the explanation lists what it has to pass.
    """
    check_readable(protection)
    if request.client:
        address = forwarded.true_client(request.headers, request.client)
        check_maintenance(protection, address)
        check_address(protection, address)
    if protection.users and field(request.headers, b"authorization") is not None:
        authorization = only(request.headers, b"authorization")
        user, password = credentials(authorization) or ("", b"")
        kept = protection.users.get(user)
        if kept is None or not kept.matches(password):
            raise Unauthorized(route.frontend.key)


def request_for(url: str, client: str, fields: Sequence[str] = ()) -> Request:
    """The request that a client would send for this URL, which may lack a scheme.

    `client` is an address, `fields` as in `Cookie: a=b`. Raises NoSuchRequest.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host = parts.netloc.rpartition("@")[2].encode("ascii" if url.isascii() else "idna")
    except ValueError as exc:
        raise NoSuchRequest(f"{url}: {exc}") from None
    if not host or not parts.netloc.isprintable() or " " in parts.netloc:
        raise NoSuchRequest(f"{url!r} names no host")
    headers = [(b"host", host)]
    for text in fields:
        name, colon, value = text.partition(":")
        if not colon:
            raise NoSuchRequest(f"{text!r} is not a field: expected 'Name: value'")
        headers.append((name.strip().lower().encode(), value.strip().encode()))
    target = quote(parts.path or "/", safe=KEPT_IN_TARGET) + (
        f"?{parts.query}" if parts.query else ""
    )
    scheme = "https" if parts.scheme in ("https", "wss") else "http"
    peer = Peer((client, 0) if client else None, None, client, scheme)
    request = Request(b"GET", target.encode("latin-1", "replace"), headers, peer, "1.1", None)
    request.web_socket = parts.scheme in ("ws", "wss")
    request.record = AccessRecord(0.0)
    return request


def _host(request: Request) -> str:
    """The host that is looked up, empty if there is none."""
    try:
        return normalise_host(request.host)
    except BadHost:
        return ""


def _balancer(config: Config) -> Balancer:
    """A balancer without randomness."""
    secret = secret_of(config.balance.secret, config.driver)
    return Balancer(default_options(config), random=lambda: 0.0, clock=time.time, secret=secret)


def _for_client(
    found: Explanation, request: Request, balancer: Balancer, denied: Collection[str]
) -> Explanation:
    """The backend of this client, if neither chance nor load decides it."""
    route = request.route
    if route is None or len(found.choice) < 2:
        return found
    backend = balancer.pick(route, request, denied)
    if found.sticky and balancer.cookie(route, backend, request, secure=False) is None:
        return decided(found, backend.url, f"the cookie {found.sticky} leads here")
    if found.policy.startswith("hash"):
        return decided(found, backend.url, f"{found.policy} leads here")
    return found
