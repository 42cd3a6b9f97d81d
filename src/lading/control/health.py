"""Whether the registry is well, as registry:2's ``health`` section asks: looked at again and again, apart from requests.

A check that fails as many times in a row as its threshold says makes the registry unwell; one success makes it well.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lading.config import health as settings
from lading.config.values import parse_address
from lading.errors import LadingError, StoreFull
from lading.stores.blobs.base import BlobStore
from lading.telemetry.logs import expected
from lading.telemetry.secrets import redacted

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

_MOST_REDIRECTS = 10
_STORE_SECONDS = 30.0

Look = Callable[[], Awaitable[str]]
Kind = settings.StorageDriverCheck | settings.FileCheck | settings.HTTPCheck | settings.TCPCheck


@dataclass(frozen=True)
class Check:
    """Something looked at every ``interval`` seconds; ``look`` answers what is wrong, or nothing."""

    name: str
    interval: float
    threshold: int
    look: Look


class Health:
    """Keeps looking, in one process; ``driver`` is what the configuration calls the store."""

    def __init__(self, configured: settings.Health, store: BlobStore, driver: str = "filesystem") -> None:
        self._failing: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._client: httpx2.AsyncClient | None = None
        self._probe: asyncio.Future[None] | None = None
        self._store = store
        self.checks = self._configured(configured, driver)

    def failing(self) -> Mapping[str, str]:
        """What is wrong now, by the name of the check; empty when all is well. As cheap as it looks."""
        return self._failing

    def start(self) -> None:
        """Begin; on the running event loop."""
        self._tasks = [asyncio.create_task(self._keep(check), name=f"health {check.name}") for check in self.checks]

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        if self._client is not None:
            await self._client.aclose()

    def _configured(self, configured: settings.Health, driver: str) -> list[Check]:
        store = configured.storagedriver
        looks: list[tuple[str, Kind, Look]] = []
        if store.enabled:
            looks.append((f"storagedriver_{driver}", store, self._look_at_store))
        looks += ((file.file, file, _file(file.file)) for file in configured.file)
        looks += ((redacted(http.uri.shown), http, self._http(http)) for http in configured.http)
        looks += ((tcp.addr, tcp, _tcp(tcp)) for tcp in configured.tcp)
        return [Check(name, kind.interval.total_seconds(), kind.threshold, look) for name, kind, look in looks]

    async def _keep(self, check: Check) -> None:
        failures = 0
        while True:
            try:
                wrong = await check.look()
            except Exception as error:
                log.exception("the health check %s could not be made", check.name)
                wrong = expected(error)
            failures = failures + 1 if wrong else 0
            self._note(check, wrong if failures >= max(1, check.threshold) else "")
            await asyncio.sleep(check.interval)

    def _note(self, check: Check, wrong: str) -> None:
        before = self._failing.get(check.name)
        if wrong:
            self._failing[check.name] = wrong
            if before is None:
                log.error("unwell: %s: %s; requests are answered with 503 until this is well again", check.name, wrong)
        elif before is not None:
            del self._failing[check.name]
            log.info("well again: %s", check.name)

    async def _look_at_store(self) -> str:
        if self._probe is None:
            self._probe = asyncio.ensure_future(self._store.probe())
        done, _ = await asyncio.wait({self._probe}, timeout=_STORE_SECONDS)
        if not done:
            return f"the store has not answered for {_STORE_SECONDS:.0f} s"  # and is not asked again before it does
        probe, self._probe = self._probe, None
        error = probe.exception()
        if error is None or isinstance(error, StoreFull):
            return ""  # whoever pushes is told that it is full; as unwell it would answer no pull either
        return error.message if isinstance(error, LadingError) else expected(error)

    def _open(self) -> httpx2.AsyncClient:
        # in a thread: to read the system's authorities takes longer than requests should wait
        import httpx2  # noqa: PLC0415 - it is large, and only those who have such checks need it

        context = ssl.create_default_context()
        self._client = httpx2.AsyncClient(verify=context, follow_redirects=True, max_redirects=_MOST_REDIRECTS)
        return self._client

    def _http(self, check: settings.HTTPCheck) -> Look:
        headers = [(name, value.get_secret_value()) for name, values in check.headers.items() for value in values]

        async def look() -> str:
            import httpx2  # noqa: PLC0415 - it is large, and only those who have such checks need it

            client = await asyncio.to_thread(self._open) if self._client is None else self._client
            seconds = check.timeout.total_seconds()
            try:
                async with asyncio.timeout(seconds):
                    response = await client.head(str(check.uri), headers=headers, timeout=seconds)
            except TimeoutError:
                return f"no answer within {seconds:g} s"
            except (httpx2.HTTPError, OSError) as error:
                return expected(error)
            if response.status_code != check.statuscode:
                return f"downstream service returned unexpected status: {response.status_code}"
            return ""

        return look


def _file(path: str) -> Look:
    async def look() -> str:
        return "file exists" if Path(path).exists() else ""

    return look


def _tcp(check: settings.TCPCheck) -> Look:
    async def look() -> str:
        host, port = parse_address(check.addr)
        try:
            async with asyncio.timeout(check.timeout.total_seconds()):
                _, writer = await asyncio.open_connection(host or "localhost", port)
        except (OSError, TimeoutError) as error:
            return f"connection to {check.addr} failed: {expected(error)}"
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return ""

    return look
