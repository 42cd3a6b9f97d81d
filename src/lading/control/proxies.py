"""Proxy projects, Harbor's proxy cache: the repositories of such a project are another registry's, pulled through and kept.

Which projects those are, and of what, is set while the registry runs. A process believes for a second what it found;
that there is no project of a name it does not believe at all, so that a new one is known at once. Nothing is pushed
into them (see :class:`~lading.control.projects.Belonging`). What comes is counted into the project's quota and never
refused for it: what was longest not asked for makes room, as it does in the projects of mirrors that are configured.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select

from lading.access.sealing import Seal
from lading.control.projects import Projects
from lading.control.quotas import UNLIMITED, Quotas
from lading.control.replication.endpoints import Endpoint, Endpoints, place_of
from lading.errors import StoreError, Unavailable
from lading.jobs.kinds import Task
from lading.oci.reference import DEFAULT_HOST
from lading.registry.admission import Admission
from lading.registry.mirror import Mirror
from lading.registry.mirrored import Keep, evict, expire
from lading.registry.mirrors import Branch
from lading.registry.upstream import PATIENCE, Upstream
from lading.remotes.adapters.kinds import HUB, keyring
from lading.stores.metadata.schema.control import projects, quotas
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

log = logging.getLogger(__name__)

SPEED, STAYS = "proxy_speed_kb", "proxy_cache_local_on_not_found"
"""What may be set for such a project: KB a second at most (-1: no bound), and whether a tag stays that is gone there."""

_BELIEVED_SECONDS = 1.0
_MOST_KNOWN = 10_000
_KB = 1024
_REGISTRY = Statement(select(projects.c.registry_id).where(projects.c.name == bindparam("name")))
_EVERY = Statement(
    select(projects.c.name, quotas.c.bytes)
    .join(quotas, quotas.c.project_id == projects.c.id)
    .where(projects.c.registry_id.is_not(None))
    .order_by(projects.c.name)
)


@dataclass(frozen=True)
class Proxy:
    """What a project is a proxy of. ``speed`` in bytes a second, 0 for no bound; ``stays``: a tag that is gone there is kept."""

    project: int
    endpoint: Endpoint
    speed: int
    stays: bool


@dataclass
class _Known:
    """What was found for a project's name, believed until then (of the monotonic clock). No proxy: an ordinary one."""

    until: float
    proxy: Proxy | None = None
    branch: Branch | None = None


class Proxies:
    """The proxy projects, for one process. ``networks`` are those that may be reached besides public addresses.

    ``make`` makes the mirror of an upstream, and is told whether tags stay that are gone there.
    """

    def __init__(
        self, metadata: Metadata, seal: Seal, networks: Sequence[str], make: Callable[[Upstream, bool], Mirror]
    ) -> None:
        self._metadata = metadata
        self._seal = seal
        self._networks = tuple(networks)
        self._make = make
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._retiring: set[asyncio.Task[None]] = set()

    async def branch(self, repository: str) -> Branch | None:
        """The mirror that a repository belongs to; None for one of an ordinary project."""
        project, slash, _ = repository.partition("/")
        if not slash:
            return None
        known = self._known.get(project)
        if known is None or known.until < time.monotonic():
            known = await self._look(project)
        return None if known is None else known.branch

    async def close(self) -> None:
        """Break off what is being fetched."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for known in self._known.values():
            if known.branch is not None:
                await known.branch.mirror.close()

    async def _look(self, project: str) -> _Known | None:
        try:
            row = await self._metadata.row(_REGISTRY, name=project)
            proxy = None
            if row is not None and row[0] is not None:
                proxy = await self._metadata.read(lambda tx: _proxy(tx, project))
        except Unavailable:
            return self._known.get(project)
        before = self._known.get(project)
        if row is None:
            self._retire(self._known.pop(project, None))
            return None
        until = time.monotonic() + _BELIEVED_SECONDS
        if before is not None and before.proxy == proxy:
            before.until = until
            return before
        made = _Known(until, proxy, None if proxy is None else self._made(project, proxy))
        self._known[project] = made
        self._known.move_to_end(project)
        self._retire(before)
        if len(self._known) > _MOST_KNOWN:
            self._retire(self._known.popitem(last=False)[1])
        return made

    def _made(self, project: str, proxy: Proxy) -> Branch:
        endpoint = proxy.endpoint
        scheme, host = place_of(endpoint.url)
        reach = replace(
            PATIENCE,
            scheme=scheme,
            insecure=endpoint.insecure,
            ca=endpoint.ca,
            networks=self._networks,
            guarded=True,
        )
        try:
            login = keyring(endpoint.kind, endpoint.username, endpoint.password(self._seal))
        except StoreError as error:
            log.error("the login of the project %s cannot be opened: %s", project, error.message)
            raise Unavailable(f"the login at {host} cannot be opened here; the log says more") from None
        upstream = Upstream(
            DEFAULT_HOST if endpoint.kind == HUB else host, login, reach, prefix=f"{project}/", speed=proxy.speed
        )
        return Branch(self._make(upstream, proxy.stays), upstream)

    def _retire(self, known: _Known | None) -> None:
        """Let what is being fetched come to its end by a mirror that is another one now."""
        if known is not None and known.branch is not None:
            task = asyncio.create_task(known.branch.mirror.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


async def tend(
    metadata: Metadata, admission: Admission, ttl: int, shared: Sequence[str], task: Task
) -> Mapping[str, int]:
    """The job: what nobody asked for within ``ttl`` (milliseconds, 0 for ever) goes, and what is above a project's quota.

    ``shared`` names the projects of mirrors that are configured, whose own settings say when their content expires.
    """
    rows = await metadata.read(lambda tx: tx.rows(_EVERY))
    keeps = [Keep(f"{name}/", ttl, 0 if most == UNLIMITED else max(1, most)) for name, most in rows]
    expired = await expire(metadata, admission, keeps, task)
    for name in shared:
        room = await metadata.scan(lambda tx, name=name: _room(tx, name))  # type: ignore[misc]
        if room is not None:
            keeps.append(Keep(f"{name}/", 0, room))
    evicted = await evict(metadata, admission, keeps, task)
    return {"manifests": expired["manifests"] + evicted["manifests"], "bytes": evicted["bytes"]}


async def _room(tx: Transaction, name: str) -> int | None:
    """How much mirrors may keep in a project; None: what is there, or it is a proxy project, which is among those."""
    project = await Projects(tx).named(name)
    return await Quotas(tx).room(project.id) if project is not None and project.registry is None else None


async def _proxy(tx: Transaction, name: str) -> Proxy | None:
    project = await Projects(tx).named(name)
    endpoint = await Endpoints(tx).find(project.registry) if project is not None and project.registry else None
    if project is None or endpoint is None:
        return None
    values = await Projects(tx).metadata(project.id)
    # what people may change of an endpoint without its being another one
    endpoint = replace(endpoint, name="", description="", trouble="", updated_at=0)
    speed = values.get(SPEED, "")
    return Proxy(project.id, endpoint, int(speed[:9]) * _KB if speed.isdecimal() else 0, values.get(STAYS) == "true")
