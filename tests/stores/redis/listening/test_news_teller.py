"""What the listening worker does for those that follow it."""

import asyncio
import socket
from pathlib import Path

from app.stores.redis.listening.news_teller import NewsTeller
from app.stores.redis.listening.tracking_news import NewsKind, TrackingNews


async def test_who_could_not_be_told_is_cut_off(tmp_path: Path) -> None:
    """A follower that missed a frame would go on to believe what is no longer so."""
    defects: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: defects.append(context["exception"])
    )
    times = [0.0]
    teller = NewsTeller(list, times.pop)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "news"))
    await teller.open(sock)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "news")
    async with asyncio.timeout(20):
        await reader.read(1)  # it is told how things stand
        teller.tell(TrackingNews(NewsKind.LANDMARK, landmark=b"7"))  # no time is left for this
        await reader.read()
    assert [type(each) for each in defects] == [IndexError]
    assert teller.followers == set()
    writer.close()
    teller.close()
