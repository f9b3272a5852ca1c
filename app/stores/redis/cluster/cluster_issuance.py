"""What those who get certificates share in a cluster.

The keys `acme:{acme}:...` are in one slot, so that the scripts of their holder still take effect at
once. A certificate is in a slot of its own. It is written only where that stands there which the
holder has seen: a holder that has just lost the lease may write one more, which is valid as well,
and its successor sees that.
"""

from __future__ import annotations

from ...certificate_store import Pair
from ...issuance import OrderEnd, OrderStart
from ..issuance import RedisIssuance, digest_of
from ..issuance_scripts import FORGET, PUT
from ..replies import text


class ClusterIssuance(RedisIssuance):
    """issuance.IssuanceStore on a cluster."""

    kind = "acme:{acme}:"

    async def begin(self, holder: str, name: str, seen: str, per_hour: int) -> OrderStart:
        """A look at the certificate, then a script."""
        if await self._stands(name) != seen:
            return OrderStart(begun=False, reason="changed")
        # The script finds no certificate where it looks, and compares that with none.
        return await self._begin(holder, f"{self._acme}none", "", per_hour)

    async def finish(self, holder: str, name: str, seen: str, pair: Pair, mark: str) -> OrderEnd:
        """A look at the lease, a script for the certificate, and one for the rest."""
        with self._translated():
            if text(await self._client.get(self._lease) or b"") != holder:
                return OrderEnd.LOST
            words = digest_of(seen), *pair, mark
            end = OrderEnd(text(await self._client.eval(PUT, 1, f"{self._tls}{name}", *words)))
            keys = self._lease, f"{self._acme}state:{name}", self._wanted
            await self._client.eval(FORGET, 3, *keys, holder, name)
        return end

    async def _stands(self, name: str) -> str:
        with self._translated():
            return text(await self._client.hget(f"{self._tls}{name}", "certificate") or b"")
