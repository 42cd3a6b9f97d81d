"""The debug address: health and metrics, for whoever watches. It asks nobody's name."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lading.api import problems
from lading.api.request import Response
from lading.control.health import Health
from lading.control.notifications import Notifications
from lading.jobs.executions import Executions
from lading.registry.collect import Collect
from lading.stores.blobs.base import BlobStore
from lading.stores.metadata.transaction import Metadata
from lading.telemetry.logs import expected
from lading.telemetry.metrics import Gauges, Metrics

log = logging.getLogger(__name__)

_FRESH_SECONDS = 15.0

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Figures:
    """The page of metrics: what is counted, and what is looked up, which is remembered for 15 seconds."""

    def __init__(
        self,
        metrics: Metrics,
        collect: Collect,
        store: BlobStore,
        notifications: Notifications,
        health: Health,
        metadata: Metadata,
    ) -> None:
        self._metrics = metrics
        self._collect = collect
        self._store = store
        self._notifications = notifications
        self._health = health
        self._metadata = metadata
        self._looking = asyncio.Lock()
        self._found: tuple[tuple[int, int] | None, int | None] = None, None
        self._found_at = float("-inf")

    async def page(self, accept: str) -> tuple[str, bytes]:
        """Content type and text."""
        async with self._looking:
            if time.monotonic() - self._found_at > _FRESH_SECONDS:
                self._found = await _or_none(self._collect.stored()), await _or_none(self._open_uploads())
                self._found_at = time.monotonic()
        stored, uploads = self._found
        waiting = await _or_none(self._notifications.waiting())
        jobs = await _or_none(self._metadata.read(lambda tx: Executions(tx).counts()))
        return self._metrics.page(Gauges(stored, uploads, waiting, not self._health.failing(), jobs), accept)

    async def _open_uploads(self) -> int:
        return sum([1 async for _ in self._store.uploads()])


class DebugApplication:
    """Answers ``/debug/health``, and the metrics at ``path`` where ``figures`` are kept."""

    def __init__(self, health: Health, figures: Figures | None, path: str) -> None:
        self._health = health
        self._figures = figures
        self._path = path

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        response = await self._answer(scope)
        body = response.body
        assert isinstance(body, bytes)
        length = (b"content-length", str(len(body)).encode())
        headers = [*response.headers, length, (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: dict[str, Any]) -> Response:
        path: str = scope["path"]
        metrics = self._figures is not None and path == self._path
        if path != "/debug/health" and not metrics:
            return problems.body(404, "NOT_FOUND", f"there is nothing here; there is {' and '.join(self._paths())}")
        if scope["method"] not in ("GET", "HEAD"):
            return problems.body(405, "UNSUPPORTED", "GET and HEAD are allowed here", None, [(b"allow", b"GET, HEAD")])
        if not metrics:
            failing = self._health.failing()
            headers = [(b"content-type", b"application/json; charset=utf-8")]
            return Response(503 if failing else 200, headers, msgspec.json.encode(failing))
        assert self._figures is not None
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        content_type, body = await self._figures.page(accept.decode("latin-1"))
        return Response(200, [(b"content-type", content_type.encode())], body)

    def _paths(self) -> list[str]:
        return ["/debug/health", self._path] if self._figures is not None else ["/debug/health"]


async def _or_none(looking: Awaitable[Any]) -> Any:
    try:
        return await looking
    except Exception as error:  # noqa: BLE001 - half a page is worth more than none, above all when something is wrong
        log.warning("a figure could not be looked up: %s", expected(error))
        return None
