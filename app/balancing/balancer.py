"""Picks a backend for a request, and keeps the state of one worker in one place. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from math import inf
from weakref import WeakValueDictionary, ref

from ..errors import InvalidBackend, NoLiveBackend
from ..frontends.options import Options
from ..frontends.settings import NO_SETTINGS
from ..routing import Backend, Frontend, Route
from .choosers import Load, RequestFacts
from .order import consider, has_backend
from .plans import BalancerInputs, Plan, Rotation
from .sticky import set_cookie, token_of

__all__ = ["Balancer", "RequestFacts"]

TRIAL_SPREAD = 0.5
"""Seconds over which workers that see the same mark lapse spread their trials:
the first one's result reaches the others before they begin theirs."""

MAX_PLANS = 2048
"""Plans that are remembered, the newest: one takes 2.7 KB, and microseconds to make anew."""

_SPARE = 64
_DEFAULTS = Options()


class Balancer:
    """Picks backends, and counts the attempts in flight. One for each worker.

    `random` gives floats in [0, 1), `clock` Unix seconds: marks are compared
    with it. `report` gets one sentence for each problem in a frontend's options,
    once for each Frontend that the store makes.
    """

    def __init__(
        self,
        defaults: Options = _DEFAULTS,
        *,
        random: Callable[[], float],
        clock: Callable[[], float],
        secret: bytes = b"",
        report: Callable[[Frontend, str], None] = lambda frontend, problem: None,
    ) -> None:
        self._defaults = defaults
        self._inputs = BalancerInputs(random, clock, secret, random() * TRIAL_SPREAD)
        self._clock = clock
        self._report = report
        # A plan lives as long as its Route, which the store's cache owns.
        self._plans: dict[int, Plan] = {}
        self._routes: dict[int, ref[Route]] = {}
        self._rotations: dict[str, Rotation] = {}
        # Lists that share a URL share its load: a CNAME's list repeats its target's.
        self._loads: WeakValueDictionary[str, Load] = WeakValueDictionary()

    def begin(self, route: Route, facts: RequestFacts, tried: Collection[str] = ()) -> Backend:
        """As `pick` and `started`."""
        plan = self._plans.get(id(route))
        if plan is None or not plan.simple or tried or plan.expires != inf:
            backend = self.pick(route, facts, tried)
            self.started(route, backend)
            return backend
        backend = plan.choose(facts)  # type: ignore[misc]  # `simple` says that it is there
        if (load := plan.rotation.loads.get(backend.url)) is not None:
            load.in_flight += 1
        return backend

    def pick(self, route: Route, facts: RequestFacts, tried: Collection[str] = ()) -> Backend:
        """The backend for this attempt; `tried` has the URLs of the earlier attempts.

        Call `started` with it next, and `finished` in the end.

        Raises NoLiveBackend, or InvalidBackend where the list has entries but
        none that is a URL.
        """
        plan = self._plans.get(id(route))
        if plan is None or (plan.expires != inf and plan.expires <= self._clock()):
            plan = self._renew(route)
        if plan.simple and not tried:
            return plan.choose(facts)  # type: ignore[misc]  # `simple` says that it is there
        backend = consider(plan, facts, tried, self._inputs)
        if backend is None:
            frontend = route.frontend
            only_bad = frontend.bad_entries and not frontend.backends
            raise InvalidBackend if only_bad else NoLiveBackend
        return backend

    def may_serve(self, route: Route) -> bool:
        """Whether `pick` would find a backend for a first attempt."""
        return has_backend(self._plan(route))

    def has_live(self, route: Route) -> bool:
        """Whether a backend is known to live."""
        plan = self._plan(route)
        return plan.choose is not None or bool(plan.options.panic and plan.drained)

    def started(self, route: Route, backend: Backend) -> None:
        """An attempt at `backend` begins."""
        rotation = self._rotation_of(route)
        if rotation is not None and (load := rotation.loads.get(backend.url)) is not None:
            load.in_flight += 1

    def finished(
        self, route: Route, backend: Backend, *, seconds_to_head: float | None = None
    ) -> None:
        """The attempt is over: it was answered whole, it failed, or the client left.

        `seconds_to_head` is given if an answer came.
        """
        plan = self._plans.get(id(route))  # as `_rotation_of`, without a call for each request
        rotation = self._rotation_of(route) if plan is None else plan.rotation
        if rotation is None:
            return
        if rotation.trials:
            rotation.trials.discard(backend.url)
        load = rotation.loads.get(backend.url)
        if load is not None:
            load.in_flight -= load.in_flight > 0
            if seconds_to_head is not None and rotation.options.policy == "least_time":
                load.observe(seconds_to_head, self._clock())

    def on_trial(self, route: Route, backend: Backend) -> bool:
        """Whether a request of this worker is proving that `backend` is alive again."""
        rotation = self._rotation_of(route)
        return rotation is not None and backend.url in rotation.trials

    def in_flight(self, route: Route, backend: Backend) -> int:
        """Attempts of this worker that have started and not finished."""
        rotation = self._rotation_of(route)
        load = rotation.loads.get(backend.url) if rotation else None
        return load.in_flight if load else 0

    def loads(self) -> Iterator[tuple[str, int]]:
        """Attempts in flight at each backend that is known here, by URL."""
        for url, load in self._loads.items():
            yield url, load.in_flight

    def options(self, route: Route) -> Options:
        """What holds for this frontend."""
        if route.frontend.settings is NO_SETTINGS:
            return self._defaults
        plan = self._plans.get(id(route)) or self._renew(route)
        return plan.options

    def cookie(
        self, route: Route, backend: Backend, facts: RequestFacts, *, secure: bool
    ) -> bytes | None:
        """The `Set-Cookie` that keeps this client at `backend`, or None.

        A client whose cookie names a backend of the list keeps that cookie, even
        while the backend is dead, and so returns to it later.
        """
        plan = self._plans.get(id(route))
        if plan is None or plan.options.sticky is None:
            return None
        name = plan.options.sticky
        if facts.cookie(name.encode()) in plan.tokens:
            return None
        token = token_of(self._inputs.secret, route.frontend.key, backend.url)
        return set_cookie(name, token, secure=secure, prefix=route.frontend.prefix)

    # remembering

    def _rotation_of(self, route: Route) -> Rotation | None:
        plan = self._plans.get(id(route))  # at hand, for `pick` has just used it
        return self._rotations.get(route.frontend.key) if plan is None else plan.rotation

    def _plan(self, route: Route) -> Plan:
        plan = self._plans.get(id(route))
        if plan is None or plan.expires <= self._clock():
            plan = self._renew(route)
        return plan

    def _renew(self, route: Route) -> Plan:
        key = id(route)
        if key not in self._routes:
            plans, routes = self._plans, self._routes

            def forget(_: ref[Route]) -> None:
                plans.pop(key, None)
                routes.pop(key, None)

            self._routes[key] = ref(route, forget)
            if len(routes) > MAX_PLANS:
                oldest = next(iter(routes))
                del routes[oldest]
                plans.pop(oldest, None)
        plan = self._plans[key] = Plan(route, self._rotation(route.frontend), self._inputs)
        return plan

    def _rotation(self, frontend: Frontend) -> Rotation:
        rotation = self._rotations.get(frontend.key)
        if rotation is not None and rotation.frontend is frontend:
            return rotation
        options = self._options(frontend)
        if rotation is None:
            self._prune()
            rotation = self._rotations[frontend.key] = Rotation(frontend, options, {})
        rotation.frontend, rotation.options = frontend, options
        busy = {url: load for url, load in rotation.loads.items() if load.in_flight}
        rotation.loads = busy | {b.url: self._load(b.url) for b in frontend.backends}
        return rotation

    def _load(self, url: str) -> Load:
        load = self._loads.get(url)
        if load is None:
            load = self._loads[url] = Load()
        return load

    def _options(self, frontend: Frontend) -> Options:
        settings = frontend.settings
        for problem in settings.problems:
            self._report(frontend, problem)
        return settings.over(self._defaults)

    def _prune(self) -> None:
        """Forget frontends that no Route names any more, in amortised constant time."""
        if len(self._rotations) < 2 * len(self._plans) + _SPARE:
            return
        planned = {id(plan.rotation) for plan in self._plans.values()}
        for key, rotation in list(self._rotations.items()):
            busy = any(load.in_flight for load in rotation.loads.values())
            if id(rotation) not in planned and not busy and not rotation.has_history:
                del self._rotations[key]
