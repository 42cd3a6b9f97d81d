"""An operation of Harbor's API: method, path, handler, permission and bodies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from lading.api.harbor.call import Call
from lading.api.harbor.chores import Chore, Planned, Run, Schedule
from lading.api.harbor.permission import Permission, system
from lading.api.request import Response

Handler = Callable[[Call], Awaitable[Response]]

PAGE = ("page", "page_size")
LIST = (*PAGE, "q", "sort")


@dataclass(frozen=True)
class Route:
    """One operation; ``path`` is below :data:`~lading.api.harbor.call.BASE`.

    ``answer`` and ``body`` are the models of what is sent and taken, None for nothing; ``status`` is that of success;
    ``query`` are the arguments it knows; ``partly`` says what of Harbor's is left out; ``text``: the
    answer is text; ``extra``: an addition to Harbor's.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission
    answer: Any = None
    body: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    partly: str = ""
    text: bool = False
    extra: bool = False

    @property
    def subject(self) -> str:
        """What it is about: its handler's module, or its chore."""
        owner = getattr(self.handler, "__self__", None)
        return owner.subject if isinstance(owner, Chore) else self.handler.__module__.rpartition(".")[2]


def of_chore(chore: Chore, resource: str, partly: str = "") -> tuple[Route, ...]:
    """The operations of a chore; ``partly`` is said of its parameters."""
    path, one = chore.path, f"{chore.path}/{{{chore.number}}}"
    may = {action: system(resource, action) for action in ("list", "read", "create", "update", "stop")}
    return (
        Route("GET", path, chore.index, may["list"], list[Run], query=LIST),
        Route("GET", f"{path}/schedule", chore.schedule, may["read"], Planned),
        Route("POST", f"{path}/schedule", chore.create, may["create"], body=Schedule, status=201, partly=partly),
        Route("PUT", f"{path}/schedule", chore.update, may["update"], body=Schedule, partly=partly),
        Route("GET", one, chore.get, may["read"], Run),
        Route("PUT", one, chore.stop, may["stop"]),
        Route("GET", f"{one}/log", chore.log, may["read"], text=True),
    )
