"""A directory asked from the event loop: the searches run in a few threads, and not many wait for one.

While it is silent (:mod:`lading.access.directory.breaker`) nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from lading.access.directory.away import Away
from lading.access.directory.breaker import Breaker
from lading.access.directory.settings import DirectorySettings, pinned
from lading.errors import Invalid, LadingError, Unavailable

if TYPE_CHECKING:
    from lading.access.directory.connection import Connection

T = TypeVar("T")

THREADS = 8
MOST_WAITING = 128
_TELL_EVERY = 10.0

log = logging.getLogger(__name__)


class Directory:
    """See the module."""

    def __init__(self, settings: DirectorySettings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="directory")
        self._running = 0
        self._told = -_TELL_EVERY
        self._breaker = Breaker()

    async def ask(
        self, question: Callable[[Connection, DirectorySettings], T], settings: DirectorySettings | None = None
    ) -> T:
        """The answer to a question, asked as the account that searches; of another directory with other ``settings``.

        Raises :class:`~lading.access.directory.away.Away`, and ``Unavailable`` where too many are under way.
        """
        if self._running >= MOST_WAITING:
            raise Unavailable("too many logins at once: try again in a second", retry_after=1)
        self._running += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question, settings)
        running.add_done_callback(self._ended)
        try:
            return await asyncio.shield(running)
        except Away as away:
            if settings is None:
                self._tell(away)
            raise

    def close(self) -> None:
        """Let go of the threads; what runs in them ends by its own bounds. Without it they end with the last reference."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, question: Callable[[Connection, DirectorySettings], T], settings: DirectorySettings | None) -> T:
        if settings is not None:
            return _ask(question, settings)
        tried, away = self._breaker.enter(), None
        try:
            return _ask(question, self.settings)
        except Away as error:
            away = error
            raise
        except Invalid as error:  # its name leads where no directory is, or nowhere
            away = Away(error.message)
            raise away from None
        finally:
            self._breaker.leave(away, tried=tried)

    def _ended(self, running: asyncio.Future[T]) -> None:
        self._running -= 1
        if not running.cancelled():
            running.exception()  # whoever asked may be gone

    def _tell(self, away: Away) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            log.warning("the directory of users cannot be asked", extra={"why": away.why, "url": self.settings.url})


def _ask(question: Callable[[Connection, DirectorySettings], T], settings: DirectorySettings) -> T:
    if not settings.guarded:
        return _ask_at(question, settings)
    silent: Away | None = None
    for place in pinned(settings):
        try:
            return _ask_at(question, place)
        except Away as away:
            if not away.silent:
                raise
            silent = away
    assert silent is not None
    raise silent


def _ask_at(question: Callable[[Connection, DirectorySettings], T], settings: DirectorySettings) -> T:
    # its library takes long to import, and most registries have no directory
    from lading.access.directory.connection import Connection  # noqa: PLC0415

    try:
        with Connection(settings) as connection:
            return question(connection, settings)
    except LadingError:
        raise
    except Exception as error:  # noqa: BLE001 - ldap3 meets an answer that is none with whatever comes of it
        raise Away(f"the directory answers what is not LDAP ({type(error).__name__})") from None
