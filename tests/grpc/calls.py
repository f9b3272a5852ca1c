"""A gRPC service and clients of grpcio's own, whose messages are plain bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio

LARGE = 64 << 20
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", LARGE),
    ("grpc.max_send_message_length", LARGE),
    ("grpc.enable_http_proxy", 0),
]


class Service:
    """Each method does what its name says."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.asked = asyncio.Event()

    async def unary(self, message: bytes, context: Any) -> bytes:
        for key, value in context.invocation_metadata():
            if key == "fail":
                await context.abort(grpc.StatusCode[value], "as you like: 100 % ü")
            elif key == "echo-bin":
                await context.send_initial_metadata((("echo-bin", value),))
                context.set_trailing_metadata((("behind-bin", value),))
        return message

    async def raising(self, message: bytes, context: Any) -> bytes:
        raise ValueError("a defect")

    async def pondering(self, message: bytes, context: Any) -> bytes:
        with self._telling():
            await asyncio.Event().wait()
        return message

    async def gathering(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        with self._telling():
            return b"".join([message async for message in messages])

    async def counting(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(message)):
            yield b"%d" % number

    async def echoing(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        with self._telling():
            async for message in messages:
                yield message

    async def waiting(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"begun"
        with self._telling():
            await asyncio.Event().wait()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell that a call is here, and that it is over; a cancelled one may just have no more
        messages for a method that reads them."""
        self.asked.set()
        try:
            yield
        finally:
            self.ended.set()

    def handler(self) -> grpc.GenericRpcHandler:
        unary, gathering = grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            "t.Service",
            {
                "Unary": unary(self.unary),
                "Raising": unary(self.raising),
                "Pondering": unary(self.pondering),
                "Gathering": gathering(self.gathering),
                "Counting": grpc.unary_stream_rpc_method_handler(self.counting),
                "Waiting": grpc.unary_stream_rpc_method_handler(self.waiting),
                "Echoing": grpc.stream_stream_rpc_method_handler(self.echoing),
            },
        )


@asynccontextmanager
async def service(
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[tuple[Service, str]]:
    """A running Service, and its URL for a list of backends; with `credentials` over TLS."""
    served = Service()
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers([served.handler()])
    if credentials is None:
        scheme, port = "h2c", server.add_insecure_port("127.0.0.1:0")
    else:
        scheme, port = "https", server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield served, f"{scheme}://127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def calling(
    port: int,
    host: str = "a.test",
    *,
    ca: bytes | None = None,
    more: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the proxy at `port`; over TLS with the authority `ca`, with `more` options."""
    target, options = f"127.0.0.1:{port}", [*OPTIONS, ("grpc.default_authority", host), *more]
    if ca is None:
        channel = grpc.aio.insecure_channel(target, options)
    else:
        credentials = grpc.ssl_channel_credentials(ca)
        options.append(("grpc.ssl_target_name_override", host))
        channel = grpc.aio.secure_channel(target, credentials, options)
    async with channel:
        yield channel
