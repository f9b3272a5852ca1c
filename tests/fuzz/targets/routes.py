"""Any rows, options, marks, hosts and tables in a store: something usable, or an error of ours."""

from __future__ import annotations

import random

from app.balancing.balancer import Balancer, RequestFacts
from app.errors import BadHost, HipacheError
from app.frontends.options import Options
from app.routing import Route, lookup_keys, normalise_host, parse_frontend
from app.stores.redis.marks import decode_mark
from app.stores.table import check_key
from tests.fuzz.world import Finding

SEEDS = [
    b"a.test\nmysite\nhttp://10.0.0.1:80\nhttp://10.0.0.2:80\n\npolicy=hash\nhash=cookie:a",
    b"*.a.test\nmysite\nunix:/run/a.sock\nhttps://[::1]:443\n\nsticky=on\nweight:unix:/run/a.sock=0",
    b"[2001:db8::1]:80\nid\nlocalhost\n10.0.0.1:99999\n\nslowStart=1e3\npanic=off",
    b"WWW.A.test.:80\nid\nhttp://u:p@h\nhttp://h:0\nhttp://h/p?q\n\nbackup:http://h/p?q=on\nhsts=5",
    b"*\n\n\nhttp://\xc3\xa9.test\n\nredirect=yes\ndrain:http://x=on\npolicy=least_time",
    b"a\nid\nhttp://a\nhttp://a\n\nweight:http://a=nan\nweight:http://a=inf\npolicy=round_robin",
    b'a\n{"until": 1, "failures": 2}\n1764044849.5;3\n\nhash=header:x-user',
]
TOKENS = [
    b"\n", b"http://", b"https://", b"unix:", b"[::1]", b":80", b"\0", b" ", b"@", b"\xff",
    b"policy=",
    b"hash=", b"sticky=", b"weight:", b"drain:", b"backup:", b"slowStart=", b"panic=", b"=on",
    b"=nan",
    b"=-1", b"=1e400", b"least_conn", b"random", b"hsts=", b"redirect=", b"%", b"//", b"*", b".",
]  # fmt: skip
FACTS = RequestFacts("192.0.2.1", [(b"cookie", b"a=b; hipache=x"), (b"x-user", b"u")])


def check(data: bytes) -> None:
    rows, _, rest = data.partition(b"\n\n")
    texts = rows.decode("utf-8", "replace").split("\n")
    options = dict(
        line.partition("=")[::2] for line in rest.decode("utf-8", "replace").split("\n") if line
    )
    host(texts[0].encode("utf-8", "replace"))
    host(data[:300])
    key(texts[0])
    for text in texts:
        decode_mark(text)
    frontend = parse_frontend("a.test", texts[1:], options)
    if len(frontend.backends) + len(frontend.bad_entries) != max(0, len(texts) - 2):
        raise Finding(f"{texts}: {frontend}")
    settings = frontend.settings
    found = settings.over(Options())
    if not all(isinstance(problem, str) for problem in settings.problems):
        raise Finding(str(settings.problems))
    if any(not 0 <= weight <= 1e6 for weight in found.weights.values()):
        raise Finding(str(found))
    pick(Route(frontend))


def pick(route: Route) -> None:
    """Whatever the options, somebody is picked or it is an error of ours."""
    balancer = Balancer(random=random.Random(0).random, clock=lambda: 0.0, secret=b"s")
    try:
        backend = balancer.pick(route, FACTS)
    except HipacheError:
        return
    if backend not in route.frontend.backends:
        raise Finding(f"{route}: {backend}")


def host(value: bytes) -> None:
    try:
        name = normalise_host(value)
    except BadHost:
        return
    if normalise_host(name.encode("latin-1")) != name or not 2 <= len(lookup_keys(name)) <= 7:
        raise Finding(f"{value!r} -> {name!r} -> {lookup_keys(name)}")


def key(text: str) -> None:
    try:
        checked = check_key(text)
    except HipacheError:
        return
    if check_key(checked) != checked:
        raise Finding(f"{text!r} -> {checked!r}")
