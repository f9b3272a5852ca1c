"""The paths of the dashboard: pages, forms, events, and the login in front of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from ...balancing.explain_text import as_text
from ...errors import HipacheError
from ...system.release import version
from ..explaining import explanation_of, request_for
from ..route_api import body_of
from ..route_edits import RouteRefusal
from ..state import Sources
from ..stored_certificates import StoredCertificates
from .desk import Desk, in_flight
from .live import LivePages
from .rendering import folder, link, render
from .route_steps import Form, said, take_step
from .site_list import Frontends
from .views import Certificates, Failures, OneFrontend, Overview, View
from .visits import COOKIE, LIFETIME, Visits

PAGES = ("/", "/frontends", "/frontend", "/certificates", "/failures", "/failure", "/explain")
FILES = ("dashboard.css", "dashboard.js", "dashboard.svg")
MAX_FIELDS = 20
GUESS_COSTS = 0.5
"""Seconds that a wrong token takes."""
FIELDS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer."""


class Dashboard:
    """Answers requests, with one method per kind of page."""

    def __init__(self, sources: Sources, stored: StoredCertificates, visits: Visits | None) -> None:
        """Without `visits` nobody has to log in, and nothing can be changed."""
        self._desk = Desk(sources, stored)
        self._visits = visits
        self._live = LivePages(self._desk)

    def routes(self) -> list[Route]:
        """For Starlette."""
        pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            **dict.fromkeys(("/", "/frontends", "/certificates", "/failures"), self.page),
            "/failure": self.failure, "/explain": self.explain, "/live": self.live,
        }  # fmt: skip
        found = [Route(path, answer) for path, answer in pages.items()]
        found.append(Route("/frontend", self.frontend, methods=["GET", "POST"]))
        found += [Route(f"/static/{name}", self.file) for name in FILES]
        if self._visits is not None:
            found.append(Route("/login", self.login, methods=["GET", "POST"]))
            found.append(Route("/logout", self.logout, methods=["POST"]))
        return found

    async def page(self, request: Request) -> Response:
        """A page that only shows."""
        return await self._shown(request, _view(request.url.path, request.query_params))

    async def frontend(self, request: Request) -> Response:
        """One frontend: shown, or changed by a form of its page."""
        query = request.query_params
        key, problem, form = query.get("key", ""), "", dict[str, str]()
        if request.method == "POST":
            form = await _form(request)
            problem = await self._refusal(request, form)
            if not problem:
                where = link("/frontend", key=key, done=form["step"], url=form.get("url"))
                return RedirectResponse(where, 303, headers=FIELDS)
        done = said(query.get("done", ""), key, query.get("url", ""))
        view = OneFrontend(key, problem, "" if problem else done, form)
        return await self._shown(request, view, 422 if problem else 200)

    async def _refusal(self, request: Request, form: Form) -> str:
        """Make the change that a form asks for; why that is not done, empty if it is."""
        if not self._desk.may_write or self._visits is None:
            return "admin.write is false: nothing can be changed here"
        cookie = self._visits.cookie_in(request.headers, time.time()) or ""
        if not self._visits.is_own_form(cookie, form.get("form", ""), request.headers):
            return "This form is too old, or is not from here. Please try again."
        where = request.client.host if request.client else "unix:"
        try:
            await take_step(
                self._desk, request.query_params.get("key", ""), form, f"dashboard from {where}"
            )
        except HipacheError as exc:
            return str(exc)
        return ""

    async def failure(self, request: Request) -> Response:
        """The story of one request."""
        request_id = request.query_params.get("id", "").strip()
        found = await self._desk.story(request_id) if request_id else []
        return await self._answer(request, "failure.html", {"id": request_id, "stories": found})

    async def explain(self, request: Request) -> Response:
        """What the proxy would do with a request for a URL."""
        query = request.query_params
        url, client = query.get("url", "").strip(), query.get("client", "").strip()
        lines, problem = [], ""
        if url:
            try:
                window = await self._desk.pacer.window()

                async def flying(key: str) -> Mapping[str, int]:
                    states = await self._desk.states(key)
                    return {each: in_flight(window, each) for each in states}

                found = await explanation_of(
                    request_for(url, client), self._desk.sources.routes, self._desk.config,
                    flying, for_client=bool(client),
                )  # fmt: skip
                lines = [line.partition(" ") for line in as_text(found, now=time.time())]
            except HipacheError as exc:
                problem = str(exc)
        told = [(name, text.strip()) for name, _, text in lines]
        context = {"url": url, "client": client, "lines": told, "problem": problem}
        return await self._answer(request, "explain.html", context)

    async def live(self, request: Request) -> Response:
        """Events for an open page, which names itself."""
        query = request.query_params
        if self._live.full or query.get("page") not in PAGES:
            return Response(status_code=503 if self._live.full else 404, headers=FIELDS)
        view = _view(query["page"], query)
        events = self._live.follow(view, self._extra(request))
        return StreamingResponse(events, headers=FIELDS, media_type="text/event-stream")

    async def file(self, request: Request) -> Response:
        """The style or the script."""
        fields = {**FIELDS, "cache-control": "no-cache"}
        return FileResponse(folder() / request.url.path.rpartition("/")[2], headers=fields)

    async def login(self, request: Request) -> Response:
        """Ask for the token, and give a cookie for it."""
        assert self._visits is not None
        target = request.query_params.get("to", "/")
        if not target.startswith("/") or target.startswith(("//", "/\\")):
            target = "/"
        if request.method == "GET":
            return await self._answer(request, "login.html", {"to": target, "problem": ""})
        form = await _form(request)
        if not self._visits.is_token(form.get("token", "")):
            await asyncio.sleep(GUESS_COSTS)
            context = {"to": target, "problem": "This is not the token."}
            return await self._answer(request, "login.html", context, 401)
        answer = RedirectResponse(target, 303, headers=FIELDS)
        answer.set_cookie(
            COOKIE, self._visits.begin(time.time()), max_age=LIFETIME, httponly=True,
            samesite="strict",
        )  # fmt: skip
        return answer

    async def logout(self, request: Request) -> Response:
        """Forget the cookie."""
        answer = RedirectResponse("/login", 303, headers=FIELDS)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _shown(self, request: Request, view: View, status: int = 200) -> Response:
        try:
            context = await view.context(self._desk, await self._desk.pacer.window())
        except HipacheError as exc:
            return await self._answer(request, "problem.html", {"problem": str(exc)}, 503)
        extra = {}
        if view.lives:
            passing = ("done", "url", "page")  # of this visit, or nothing that we wrote
            query = {k: v for k, v in request.query_params.items() if k not in passing}
            extra["live"] = link("/live", page=request.url.path, **query)
        return await self._answer(request, view.template, {**context, **extra}, status)

    async def _answer(
        self, request: Request, template: str, context: dict[str, Any], status: int = 200
    ) -> Response:
        whole = {"live": "", "fragment": False, **self._extra(request), **context}
        return Response(await render(template, whole), status, FIELDS, "text/html; charset=utf-8")

    def _extra(self, request: Request) -> dict[str, object]:
        """What every template needs."""
        cookie = None
        if self._visits is not None:
            cookie = self._visits.cookie_in(request.headers, time.time())
        return {
            "version": version(), "path": request.query_params.get("page", request.url.path),
            "may_write": self._desk.may_write and cookie is not None,
            "form": self._visits.form_token(cookie) if self._visits and cookie else "",
        }  # fmt: skip


def _view(path: str, query: Mapping[str, str]) -> View:
    """The page at a path."""
    page = int(text) if (text := query.get("n", "1")).isascii() and text.isdigit() else 1
    if path == "/frontends":
        return Frontends(query.get("filter", ""), query.get("sort", ""), page)
    if path == "/frontend":
        return OneFrontend(query.get("key", ""))
    if path == "/failures":
        return Failures(query.get("host", ""), page, refused=query.get("refused") == "1")
    return Certificates() if path == "/certificates" else Overview()


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; none if it is no form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        body = (await body_of(request)).decode()
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except (RouteRefusal, ValueError):
        return {}
