"""A Service in a process of its own, which a test kills. Prints its URL."""

from __future__ import annotations

import asyncio

from tests.grpc.calls import service


async def main() -> None:
    async with service() as (_, url):
        print(url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
