"""Who we are at a registry: what a user typed, what the environment says, what docker and podman have kept.

In this order, the first that knows the registry decides:

1. what was given for this command (``--username``, ``--password-stdin``);
2. ``DOCKER_AUTH_CONFIG``, the text of a ``config.json``, as GitLab's runners have it;
3. the ``auth.json`` that ``REGISTRY_AUTH_FILE`` names, as for podman and skopeo: whoever sets that means it;
4. ``config.json`` of docker (in ``DOCKER_CONFIG`` or ``~/.docker``): a helper for this registry, else the helper for
   all, else what the file itself has;
5. without that variable, ``auth.json`` where podman keeps it (``$XDG_RUNTIME_DIR/containers/auth.json``). In either
   file of podman's a longer path of a repository goes before a shorter one;
6. what the registry's vendor gives to this machine or this job (``adapters/vendors.py``), where the caller allows it.

Credentials are read when a registry asks for them, and never written to a log.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lading.oci.reference import DEFAULT_HOST
from lading.remotes import helpers
from lading.remotes.dockerconfig import DockerConfig

HUB_KEY = "https://index.docker.io/v1/"
"""What docker's files call ``docker.io``."""


@dataclass(frozen=True)
class Credential:
    """One of: ``username`` and ``password``; an ``identity_token`` that buys tokens; a ``registry_token`` to send as is."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    until: float = math.inf
    """When it ends, in seconds since 1970."""

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.identity_token or self.registry_token)


Ambient = Callable[[str, Mapping[str, str]], Awaitable[Credential | None]]
"""What this machine or this job is given for a host, told by the environment; None when nothing is."""

_EARLY = 300.0
"""How long before its end a credential is asked for anew, in seconds."""


def keys(host: str) -> list[str]:
    """What a registry may be called in a file, the usual name first."""
    if host == DEFAULT_HOST:
        return [HUB_KEY, "index.docker.io", "docker.io", "registry-1.docker.io"]
    return [host]


class Keyring:
    """Looks credentials up; ``environment`` is that of the process, ``given`` holds what the user typed, by host."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        given: Mapping[str, Credential] | None = None,
        ambient: Ambient | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._given = dict(given or {})
        self._ambient = ambient
        self._found: dict[tuple[str, str], Credential] = {}
        self._asking = asyncio.Lock()

    @property
    def docker(self) -> DockerConfig:
        """The file of docker itself."""
        return DockerConfig(docker_folder(self._environment) / "config.json")

    def kept(self, host: str) -> tuple[DockerConfig, list[str]]:
        """The file that ``login`` writes, so that it is read before others, and what a registry may be called in it, the usual name first."""
        named = self._environment.get("REGISTRY_AUTH_FILE")
        if named and Path(named) != self.docker.path:
            return DockerConfig(Path(named)), [host, *(key for key in keys(host) if key != host)]
        return self.docker, keys(host)

    async def had(self, host: str) -> Credential | None:
        """What is in that file, or with the helper that it names."""
        file, names = self.kept(host)
        return await _of(file, names, host, "")

    async def find(self, host: str, repository: str = "") -> Credential:
        """What to say to this registry; an empty one when nothing is known. Asked once, remembered until it ends."""
        key = (host, repository)
        async with self._asking:  # a helper may ask the user to unlock something: once is enough
            if key not in self._found or self._found[key].until < time.time() + _EARLY:
                self._found[key] = await self._search(host, repository)
        return self._found[key]

    async def _search(self, host: str, repository: str) -> Credential:
        if found := self._given.get(host):
            return found
        if text := self._environment.get("DOCKER_AUTH_CONFIG"):
            given = DockerConfig.of(text, "DOCKER_AUTH_CONFIG")
            if found := await _of(given, keys(host), host, repository):
                return found
        for file, names, below in self._files(host, repository):
            if found := await _of(file, names, host, below):
                return found
        return (await self._made(host) if self._ambient else None) or Credential()

    async def elsewhere(self, host: str) -> str:
        """Which other place than the file that ``login`` writes has a login to a host: DOCKER_AUTH_CONFIG, or a file."""
        text = self._environment.get("DOCKER_AUTH_CONFIG")
        if text and await _of(DockerConfig.of(text, "DOCKER_AUTH_CONFIG"), keys(host), host, ""):
            return "DOCKER_AUTH_CONFIG"
        for file, names, _ in self._files(host, ""):
            if file.path != self.kept(host)[0].path and await _of(file, names, host, ""):
                return str(file.path)
        return ""

    async def _made(self, host: str) -> Credential | None:
        """One for the whole host: it is not made anew for every repository."""
        assert self._ambient is not None
        kept = self._found.get((host, ""))
        if kept is not None and kept.until >= time.time() + _EARLY:
            return kept
        made = self._found[host, ""] = await self._ambient(host, self._environment) or Credential()
        return made

    def _files(self, host: str, repository: str) -> Iterator[tuple[DockerConfig, list[str], str]]:
        """The files, in their order, with what the registry is called in each and the repository it may tell apart."""
        named = self._environment.get("REGISTRY_AUTH_FILE")
        if named:
            yield DockerConfig(Path(named)), [host], repository
        yield self.docker, keys(host), ""
        if named:
            return
        runtime = self._environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
        config = self._environment.get("XDG_CONFIG_HOME") or _home(self._environment) / ".config"
        place = "containers" if self._environment.get("XDG_RUNTIME_DIR") else ""
        for path in (Path(runtime, place, "auth.json"), Path(config, "containers", "auth.json")):
            yield DockerConfig(path), [host], repository


def docker_folder(environment: Mapping[str, str]) -> Path:
    """Where docker keeps its ``config.json``."""
    named = environment.get("DOCKER_CONFIG")
    return Path(named) if named else _home(environment) / ".docker"


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


async def _of(file: DockerConfig, names: list[str], host: str, repository: str) -> Credential | None:
    """What is found with a file: by a helper that it names for one of the registry's names, else in itself."""
    for key in names:
        helper = file.helper(key)
        if helper and (found := await _ask(helper, key)):
            return found
    return _entry(file, host, repository)


async def _ask(helper: str, key: str) -> Credential | None:
    answer = await helpers.get(helper, key)
    if answer is None:
        return None
    username, secret = answer
    return Credential(identity_token=secret) if username == "<token>" else Credential(username, secret)


def _entry(file: DockerConfig, host: str, repository: str) -> Credential | None:
    """The file's own entry, by repository from the longest path to the shortest, then by host."""
    words = repository.split("/") if repository else []
    paths = ["/".join([host, *words[:count]]) for count in range(len(words), 0, -1)]
    for key in [*paths, *keys(host)]:
        entry = file.entry(key)
        if entry is not None and (found := Credential(**entry, until=math.inf)):
            return found
    return None
