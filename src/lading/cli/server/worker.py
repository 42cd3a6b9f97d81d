"""One worker process: an event loop, the registry, and a server on the socket it was given."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from lading.api.connection import Protocol, Timing
from lading.app import Registry

if TYPE_CHECKING:
    import ssl

    from lading.config.model import Configuration

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs several of it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(
    configuration: Configuration,
    place: tuple[Path | None, str],
    listening: tuple[socket.socket, socket.socket | None],
    tls: ssl.SSLContext | None,
    ready: Callable[[], None],
    *,
    governed: bool,
) -> None:
    """Serve until SIGTERM, then finish what was begun; ``place``: the folder, if it is one, and the index.

    ``listening``: the sockets for clients and for the debug address; ``ready`` is called when they are served.
    """
    _keep_buffers()
    # libuv would set up each new connection by io_uring, at a system call more than without
    os.environ.setdefault("UV_USE_IO_URING", "0")
    uvloop.run(_serve(partial(Registry, configuration, *place, governed=governed), *listening, tls, ready))


async def _serve(
    make: Callable[[], Registry],
    own: socket.socket,
    debug: socket.socket | None,
    tls: ssl.SSLContext | None,
    ready: Callable[[], None],
) -> None:
    import signal

    registry = make()  # on the loop
    configuration = registry.configuration
    servers = [_server(configuration, await registry.application(), tls)]
    sockets = [own]
    if debug is not None:
        servers.append(_server(configuration, registry.debug(), None))
        sockets.append(debug)

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    registry.start()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    ready()
    try:
        await asyncio.gather(
            *(server.serve(sockets=[listening]) for server, listening in zip(servers, sockets, strict=True))
        )
    finally:
        await registry.close()


def _server(configuration: Configuration, application: Any, tls: ssl.SSLContext | None) -> _Server:
    limits = configuration.limits
    timing = Timing(
        head=limits.headertimeout.total_seconds(),
        idle=limits.idletimeout.total_seconds(),
        stall=limits.bodytimeout.total_seconds(),
        head_bytes=limits.headersize,
        most_connections=limits.connections,
    )
    config = uvicorn.Config(
        application,
        http=Protocol(timing),  # type: ignore[arg-type] # a factory, where uvicorn names a class
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_graceful_shutdown=max(1, int(configuration.http.draintimeout.total_seconds())),
    )
    config.load()
    config.ssl = tls
    return _Server(config)


def _keep_buffers() -> None:
    """Have glibc reuse the large buffers that bodies are read into: fresh ones cost a page fault every 4 KiB.

    What a look at a password takes is larger (19 MB), costs more than its page faults, and goes back to the system.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 16 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 32 << 20)
        libc.mallopt(_M_ARENA_MAX, 2)
