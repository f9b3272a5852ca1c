"""What picking a backend costs: CPU microseconds per pick, for every policy.

    python -m bench.questions.picking

A pick as the proxy makes it: nothing tried before, no marks, default options
but for the policy. The goal is 2 us for 3 backends and 20 us for 1,000. The
machine's noise only adds, so the best of several rounds counts.
"""

import time
from collections.abc import Callable
from random import Random

from app.balancing.balancer import Balancer, RequestFacts
from app.frontends.options import Options, Policy
from app.routing import Mark, Route, parse_frontend

ROUNDS, PICKS = 7, 20_000


def microseconds(pick: Callable[[], object]) -> float:
    """CPU time of one call of `pick`, best of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(PICKS):
            pick()
        best = min(best, time.process_time() - started)
    return best / PICKS * 1e6


def case(policy: Policy, backends: int, *, weighted: bool, marked: bool) -> float:
    """The cost of one situation."""
    urls = [f"http://10.0.{i >> 8}.{i & 255}:80" for i in range(backends)]
    options = {f"weight:{url}": str(1 + i % 3) for i, url in enumerate(urls)} if weighted else {}
    marks = {urls[0]: Mark(time.time() + 3600, time.time(), "bench", "bench")} if marked else {}
    route = Route(parse_frontend("example.com", ["id", *urls], options), marks)
    balancer = Balancer(Options(policy=policy), random=Random(1).random, clock=time.time)
    for url in urls:  # so that least_time has times to compare
        backend = balancer.pick(route, RequestFacts("10.0.0.1", []), set(urls) - {url})
        balancer.started(route, backend)
        balancer.finished(route, backend, seconds_to_head=0.01)
    facts = RequestFacts("192.0.2.77", [(b"host", b"example.com"), (b"accept", b"*/*")])
    return microseconds(lambda: balancer.pick(route, facts))


def main() -> None:
    """Print the table."""
    print(f"{'policy':12} {'backends':>8} {'plain':>8} {'weighted':>9} {'one dead':>9}   us/pick")
    for policy in Policy:
        for backends in (3, 1000):
            plain = case(policy, backends, weighted=False, marked=False)
            weighted = case(policy, backends, weighted=True, marked=False)
            marked = case(policy, backends, weighted=False, marked=True)
            print(f"{policy:12} {backends:8} {plain:8.2f} {weighted:9.2f} {marked:9.2f}")


if __name__ == "__main__":
    main()
