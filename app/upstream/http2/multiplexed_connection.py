"""One connection of HTTP/2 to a backend (RFC 9113): many requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from contextlib import suppress
from typing import Any, TypeVar

from ...errors import (
    UpstreamBadAnswer,
    UpstreamCut,
    UpstreamError,
    UpstreamReset,
    UpstreamStale,
    UpstreamUnreachable,
)
from ...http2.engine import (
    ConnectionClosed,
    DataReceived,
    EngineError,
    ErrorCode,
    Event,
    GoAwayReceived,
    InformationalResponseReceived,
    ResponseReceived,
    Setting,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)
from ...system.resolver import plain
from ..backend_stream import Owner
from .backend_request import BackendRequest
from .backend_wire import BackendWire

Place = TypeVar("Place", bound=BackendRequest)


class MultiplexedConnection(BackendWire):
    """The engine's bytes and events, and the requests that share them."""

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        most: int,
        on_closed: Callable[[MultiplexedConnection], None],
        ping: float,
    ) -> None:
        """`most`: requests at once, if the backend takes as many; `ping` as for the wire."""
        super().__init__(loop, most, ping)
        self._owner = owner
        self._most = most
        self._on_closed = on_closed
        self._leaving = self._served = self._used = self._broken = False
        self._places: set[BackendRequest] = set()
        self._retires = loop.time() + owner.max_age
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when the backend has said its SETTINGS; fails with UpstreamError."""

    # -- places for requests

    @property
    def accepts(self) -> bool:
        """Whether a request may begin."""
        return (
            self._transport is not None
            and not self._leaving
            and not self._transport.is_closing()
            and self.engine.can_send_request
        )

    @property
    def has_room(self) -> bool:
        """Whether there may be one more place. However short its life, a connection gives one."""
        young = not self._used or self._loop.time() < self._retires
        return young and self.accepts and len(self._places) < self._most

    @property
    def may_keep(self) -> bool:
        """Whether a place may serve another request."""
        return (
            self.accepts and len(self._places) <= self._most and self._loop.time() < self._retires
        )

    @property
    def is_unused(self) -> bool:
        """Whether no place is left."""
        return not self._places

    def add_place(self, kind: type[Place]) -> Place:
        """A place for one request at a time; it leaves by itself."""
        self._used = True
        place = kind(self, self._owner)
        self._places.add(place)
        return place

    def leave(self, place: BackendRequest) -> None:
        """`place` was closed; the last one closes the connection."""
        self._places.discard(place)
        if not self._places:
            self.close()

    def retire(self) -> None:
        """Begin no further request; those under way go on."""
        self._leaving = True
        for place in tuple(self._places):
            if place.is_idle and not place.number:
                place.close()

    def retire_from(self, addresses: Set[str]) -> None:
        """Retire if the connection leads to one of these addresses."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        if peer and plain(peer[0]) in addresses:
            self.retire()

    def close(self) -> None:
        """Say good-bye, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._leaving = True
            with suppress(EngineError):
                self.engine.send_goaway()
                self._transport.write(self.engine.data_to_send())
            self._transport.close()

    # -- its end

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.ready.done():
            self.ready.set_exception(UpstreamUnreachable("the backend does not speak HTTP/2"))
            self.ready.exception()  # those who asked may have gone
        streams, self.streams = self.streams, {}
        for place in streams.values():
            error = self._loss(place)
            error.__cause__ = exc
            place.on_closed(error)
            place.deliver()
        for place in tuple(self._places):
            if place.is_idle:
                place.close()
        self._on_closed(self)

    def _loss(self, place: BackendRequest) -> UpstreamError:
        if self._broken:
            return UpstreamBadAnswer("the backend broke HTTP/2")
        if self._vanished:
            return (UpstreamCut if place.begun else UpstreamReset)("the backend answers no PING")
        if place.begun:
            return UpstreamCut()
        return UpstreamStale() if self._served else UpstreamReset()

    def _fail(self, error: EngineError) -> None:
        """The backend has broken the protocol; the engine says so to it."""
        transport = self._transport
        if transport is None:
            return
        streams, self.streams = self.streams, {}
        self._leaving = True
        for place in streams.values():
            place.on_closed(UpstreamBadAnswer(f"the backend broke HTTP/2: {error}"))
            place.deliver()
        with suppress(EngineError):
            transport.write(self.engine.data_to_send())
        transport.close()

    # -- events

    def _handle(self, events: list[Event]) -> None:
        touched: dict[BackendRequest, None] = {}
        for event in events:
            if (on := _OF_STREAMS.get(type(event))) is not None:
                place = self.streams.get(event.stream_id)  # type: ignore[attr-defined]
                if place is not None:
                    touched[place] = None
                    try:
                        on(self, place, event)
                    except UpstreamBadAnswer as error:
                        place.fail(error)
                elif isinstance(event, DataReceived) and event.data:
                    self.give_back(len(event.data), event.stream_id)
            elif (of_all := _OF_ALL.get(type(event))) is not None:
                of_all(self, event)
        self._heartbeat.answered |= bool(touched)
        for place in touched:
            place.deliver()

    def _on_interim(self, place: BackendRequest, event: InformationalResponseReceived) -> None:
        place.on_interim(event.headers)

    def _on_response(self, place: BackendRequest, event: ResponseReceived) -> None:
        place.on_head(event.headers)
        if event.end_stream:
            place.on_end()

    def _on_data(self, place: BackendRequest, event: DataReceived) -> None:
        if event.data:
            place.on_data(event.data)
        if event.end_stream:
            place.on_end()

    def _on_trailers(self, place: BackendRequest, event: TrailersReceived) -> None:
        place.on_end(event.headers)

    def _on_stream_closed(self, place: BackendRequest, event: StreamClosed) -> None:
        del self.streams[event.stream_id]
        if place.ended:
            self._served = True
            place.on_closed(None)
        else:
            place.on_closed(place.reset_by(event.error_code, leaving=self._leaving))

    def _on_settings(self, event: SettingsReceived) -> None:
        if (most := event.settings.get(Setting.MAX_CONCURRENT_STREAMS)) is not None:
            self._most = min(self._most, most)
        self.tunnels = self.tunnels or bool(event.settings.get(Setting.ENABLE_CONNECT_PROTOCOL))
        if not self.ready.done():
            self.ready.set_result(None)
        for place in tuple(self._places):
            if len(self._places) > self._most and place.is_idle and not place.number:
                place.close()

    def _on_goaway(self, _: GoAwayReceived) -> None:
        self.retire()

    def _on_connection_closed(self, event: ConnectionClosed) -> None:
        self._broken = event.error_code != ErrorCode.NO_ERROR
        if self._transport is not None:
            with suppress(EngineError):  # our GOAWAY
                self._transport.write(self.engine.data_to_send())
            self._transport.close()


_OF_STREAMS: dict[type[Event], Callable[[MultiplexedConnection, BackendRequest, Any], None]] = {
    InformationalResponseReceived: MultiplexedConnection._on_interim,
    ResponseReceived: MultiplexedConnection._on_response,
    DataReceived: MultiplexedConnection._on_data,
    TrailersReceived: MultiplexedConnection._on_trailers,
    StreamClosed: MultiplexedConnection._on_stream_closed,
}
_OF_ALL: dict[type[Event], Callable[[MultiplexedConnection, Any], None]] = {
    SettingsReceived: MultiplexedConnection._on_settings,
    GoAwayReceived: MultiplexedConnection._on_goaway,
    ConnectionClosed: MultiplexedConnection._on_connection_closed,
}
