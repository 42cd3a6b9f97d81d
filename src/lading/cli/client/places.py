"""Where images are, as users write it, and the clients for it.

==========================  =========================================================================
``HOST/NAME[:TAG|@DIGEST]``  a registry (``docker.io`` where no host is written)
``oci:FOLDER[:NAME]``        an OCI image layout
``archive:FILE[:NAME]``      a tar archive, of ``docker save`` or OCI; ``docker-archive:`` and ``oci-archive:`` likewise;
                             ``-`` as the file is standard input or output
``local:NAME[:TAG]``         the images of this machine (``lading images``)
``engine:NAME[:TAG]``        a running docker engine, to read from
==========================  =========================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lading.errors import Invalid, LocalError
from lading.oci.reference import DEFAULT_TAG, Reference
from lading.remotes.base import RegistryClient

if TYPE_CHECKING:
    from lading.remotes.http import HttpRegistry
    from lading.remotes.store import Store
    from lading.remotes.transport import Policy

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 8
"""How many small requests are under way at the same time."""

_KINDS = {
    "oci": "oci",
    "archive": "archive",
    "docker-archive": "archive",
    "oci-archive": "archive",
    "local": "local",
    "engine": "engine",
    "docker-daemon": "engine",
}

_PORT = re.compile(r"[0-9]{1,5}/")
"""What follows the colon where a word like these is a host after all: ``local:5000/app``."""


@dataclass(frozen=True)
class Place:
    """A repository of something, and which manifest of it; ``host`` is empty where it is no registry."""

    client: RegistryClient
    repository: str
    reference: str
    host: str = ""
    title: str = ""


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's asynchronous part to its end; a signal ends it in good order, with 128 and its number."""
    import asyncio
    import signal

    ended: list[int] = []

    async def until_told() -> Result:
        """The work, cancelled by the signals that end a program, so that nothing half-written stays; Ctrl-C is asyncio's."""
        task = asyncio.current_task()

        def end(number: int) -> None:
            assert task is not None
            ended.append(number)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # what nohup ignores stays ignored
                asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await work

    try:
        return asyncio.run(until_told())  # uvloop's import costs more than it gives: bodies are read past any loop
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise SystemExit(128 + (ended or [signal.SIGINT])[0]) from None


def here(work: Coroutine[Any, Any, Result]) -> Result:
    """Run what touches only this machine's files, which never waits: no loop is needed, and its import is spared."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    work.close()
    raise RuntimeError("this waits for something: it wants run()")


async def each(call: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """What ``call`` answers for each, in their order; a few are asked at a time, and the first that fails ends it."""
    from lading.remotes.copy import together

    found: dict[int, Result] = {}
    waiting = iter(enumerate(items))

    async def work() -> None:
        for place, item in waiting:
            found[place] = await call(item)

    await together([work() for _ in range(_AT_ONCE)])
    return [found[place] for place in range(len(items))]


class Places(AsyncExitStack):
    """Opens clients, each registry once, and closes all of them in the end."""

    def __init__(self, *, plain_http: bool = False, insecure: bool = False) -> None:
        super().__init__()
        self._plain_http = plain_http
        self._insecure = insecure
        self._registries: dict[str, HttpRegistry] = {}

    def policy(self) -> Policy:
        from lading.remotes.transport import Policy

        return Policy(plain_http=self._plain_http, insecure=self._insecure)

    def registry(self, host: str) -> HttpRegistry:
        """The registry of a host."""
        from lading.remotes.adapters.vendors import ambient
        from lading.remotes.credentials import Keyring
        from lading.remotes.http import HttpRegistry
        from lading.remotes.session import Session

        if host not in self._registries:
            session = Session(host, Keyring(ambient=ambient), self.policy())
            self.push_async_callback(session.close)
            self._registries[host] = HttpRegistry(session)
        return self._registries[host]

    def store(self) -> Store:
        """The images of this machine."""
        from lading.remotes.store import Store, place

        made = Store(place(os.environ))
        self.enter_context(made.writing())
        return made

    def scratch(self) -> Path:
        """A folder for what is only needed now, on the disk where images are kept."""
        from lading.remotes import files
        from lading.remotes.store import place

        return self.enter_context(files.scratch(place(os.environ).parent))

    async def source(self, text: str, *, several: bool = False, like: Reference | None = None) -> Place:
        """Where to read; everything but a registry must be there.

        Of ``several`` images none is chosen; else, where ``text`` names none, the one that is called as ``like``, or the only one.
        """
        kind, rest = split(text)
        if kind == "registry":
            return self.at(Reference.parse(rest))
        if kind == "local":
            reference = Reference.parse(rest)
            return Place(self.store(), reference.name, reference.reference, title=str(reference))
        if kind == "engine":
            return await self.engine(Reference.parse(rest))
        path, name = _path(rest)
        if kind == "archive":
            from lading.cli.client import pipes
            from lading.remotes.unpack import opened

            scratch = self.scratch()
            client: RegistryClient = (
                await pipes.opened(scratch) if path == pipes.STANDARD else await opened(path, scratch)
            )
        else:
            from lading.remotes.layout import Layout

            client = Layout(path)
        return Place(client, "", name or ("" if several else await _only(client, text, like)), title=str(path))

    async def target(self, text: str, named: Reference | None = None) -> Place:
        """Where to write; a folder or an archive is made. ``named`` is what the image in it is called; docker's tag is added."""
        kind, rest = split(text)
        if kind == "registry":
            return self.at(Reference.parse(rest))
        if kind == "local":
            reference = Reference.parse(rest)
            return Place(self.store(), reference.name, reference.reference, title=str(reference))
        if kind == "engine":
            raise Invalid("an engine is only read from; write an archive: and load it with docker load")
        path, name = _path(rest)
        if kind == "archive" and name:
            named = Reference.parse(name)
        if named and not named.tag and not named.digest:
            named = named.tagged(DEFAULT_TAG)
        if kind == "archive":
            from lading.cli.client import pipes
            from lading.remotes.archive import writing

            if path == pipes.STANDARD:
                pipes.check_output()
                path = self.scratch() / "standard-output.tar"
                await self.enter_async_context(pipes.given(path))
            names = [named] if named and named.tag else []
            client: RegistryClient = await self.enter_async_context(writing(path, names))
            return Place(client, "", named.tag if named else "", title=str(path))
        from lading.remotes.layout import Layout

        return Place(Layout(path, create=True), "", name or (named.tag if named else ""), title=str(path))

    def at(self, reference: Reference) -> Place:
        """A registry's repository."""
        client = self.registry(reference.host)
        return Place(client, reference.repository, reference.reference, reference.host, str(reference))

    async def engine(self, reference: Reference) -> Place:
        """An image of the running docker engine."""
        wanted = reference if reference.tag or reference.digest else reference.tagged(DEFAULT_TAG)
        client = await self._saved([wanted])
        return Place(client, "", await _only(client, f"engine:{reference}", None), title=str(reference))

    async def engine_tags(self, reference: Reference) -> dict[str, Place]:
        """Every image that the engine has of a repository, by its tag; what they share is fetched once."""
        from lading.remotes.engine import tags

        named = [reference.tagged(tag) for tag in await tags(_socket(), reference)]
        client = await self._saved(named) if named else None
        return {one.tag: Place(client, "", f"{one.name}:{one.tag}", title=str(one)) for one in named if client}

    async def _saved(self, references: Sequence[Reference]) -> RegistryClient:
        from lading.remotes.engine import save
        from lading.remotes.unpack import opened

        socket, scratch = _socket(), self.scratch()
        await save(socket, references, scratch / "saved.tar")
        return await opened(scratch / "saved.tar", scratch)


def _socket() -> Path:
    from lading.remotes.engine import socket_of

    if socket := socket_of(os.environ):
        return socket
    raise LocalError("there is no docker engine to ask: DOCKER_HOST names no socket, or nothing is there")


def split(text: str) -> tuple[str, str]:
    """Kind and rest of a place: ``registry``, ``oci``, ``archive``, ``local``, ``engine``."""
    word, colon, rest = text.partition(":")
    if colon and word in _KINDS and not _PORT.match(rest):
        return _KINDS[word], rest
    return "registry", text


def _path(text: str) -> tuple[Path, str]:
    """``PATH[:NAME]``: what follows the first colon is a name."""
    path, colon, name = text.partition(":")
    if not path:
        raise Invalid("name a folder or a file, as in oci:FOLDER or archive:FILE.tar")
    return Path(path), name if colon else ""


async def _only(client: RegistryClient, text: str, like: Reference | None) -> str:
    """The name to use where the user wrote none: that of ``like`` if it is there, the only one, or none."""
    names = [name async for name in client.tags("")]
    if len(names) < 2:
        return names[0] if names else ""
    same = like.tagged(like.reference) if like else None
    if same and await client.resolve("", whole := f"{same.name}:{same.tag}"):
        return whole
    found = [await client.resolve("", name) for name in names]
    if len({one.digest for one in found if one}) == 1:
        return names[0]
    raise Invalid(f"{text} has several images; name one, as in {text}:{names[0]}; there is {', '.join(names[:10])}")
