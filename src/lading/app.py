"""The composition root: builds a registry from its configuration, in the one place that knows all the parts.

One :class:`Registry` serves in one process. Whatever happens elsewhere than where you are reading is listed here:
``JOBS`` is what can be done in the background, ``SCHEDULES`` when it is, and :meth:`Registry.start` begins.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import bindparam, select, text

from lading import settings
from lading.access.guard import Guard, Open, guard
from lading.access.htpasswd import Htpasswd
from lading.access.sealing import Seal, read_key
from lading.api.application import Application
from lading.api.debug import DebugApplication, Figures
from lading.api.distribution import routes
from lading.api.observer import AccessLog, RequestObserver
from lading.api.services import Services
from lading.config.ldap import Ldap as LdapSection
from lading.config.model import Configuration
from lading.config.storage import UploadPurging
from lading.control import projects
from lading.control.accounts import Accounts, are_on, tend
from lading.control.audit import Syslog
from lading.control.auditpurge import AuditPurge
from lading.control.directory import Sync
from lading.control.health import Health
from lading.control.logins import decoded, in_force, stored
from lading.control.notifications import Notifications
from lading.control.quotas import collected
from lading.control.replication.run import Replicate
from lading.control.replication.triggers import Triggers
from lading.jobs.executions import History
from lading.jobs.kinds import Kind, Task
from lading.jobs.leases import COLLECTION, Leases
from lading.jobs.outbox import Outbox, Reaction
from lading.jobs.queue import JobQueue
from lading.jobs.schedule import Scheduler, every
from lading.jobs.worker import Worker
from lading.registry.admission import (
    Admission,
    BlobArrives,
    ManifestArrives,
    ManifestCollected,
    ManifestGoes,
    Rule,
    UploadBegins,
)
from lading.registry.collect import Collect
from lading.registry.delete import Delete
from lading.registry.local import Local
from lading.registry.mirror import Mirror
from lading.registry.mirrored import brought, evict, expire
from lading.registry.mirrors import Branch, Mirrors, patterns
from lading.registry.pull import Pull
from lading.registry.purge import Purge
from lading.registry.push import Push, push_policy
from lading.registry.uploads import Uploads
from lading.registry.upstream import Upstream
from lading.stores.blobs.driver import open_store
from lading.stores.metadata.engine import is_remote, open_index
from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Metadata, Statement, Transaction
from lading.telemetry import metrics

_SECRET = Statement(select(facts.c.value).where(facts.c.name == bindparam("name")))
_KEEP_SECRET = Statement(text("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"))


class Registry:
    """Everything one process needs to serve; made on the event loop it serves on."""

    def __init__(self, configuration: Configuration, root: Path | None, index: str) -> None:
        self.configuration = configuration
        self.store = open_store(configuration.storage, root)
        self.metadata = open_index(index, **_connections(configuration))
        self._outage = configuration.database.outage.total_seconds() if is_remote(index) else 0.0
        endpoints = [each for each in configuration.notifications.endpoints if not each.disabled]
        self.outbox = Outbox(self.metadata, listening=bool(endpoints))
        self.accounts: Accounts | None = None
        self.guard: Guard = Open()
        self.root = root
        process = f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid4().hex[:8]}"
        self.queue = JobQueue(self.metadata, process)
        paths = [*(route.path for route in routes.ROUTES), "/v1/search", "/"]
        self.metrics = metrics.attach(paths, [endpoint.name for endpoint in endpoints], list(JOBS))
        self.collect = Collect(self.metadata, self.store, self.metrics, Admission(COLLECTED))
        self.health = Health(configuration.health, self.store, configuration.storage.driver)
        self.notifications = Notifications(
            self.metadata,
            self.outbox,
            self.queue,
            endpoints,
            settings.address(configuration),
            references=configuration.notifications.events.includereferences,
            counting=self.metrics,
        )
        self.remembered: dict[str, Any] = {"age": configuration.jobs.history, "keep": configuration.jobs.keep}
        self.replicate = Replicate(self.metadata, self.queue, configuration.replication.networks)
        self.triggers = Triggers(self.metadata, self.queue, self.replicate, **self.remembered)
        kinds = {name: kind for name, make in JOBS.items() if (kind := make(self)) is not None}
        self.worker = Worker(self.queue, kinds, slots=configuration.jobs.concurrency, counting=self.metrics)
        self.leases = Leases(self.metadata, process)
        self.scheduler = Scheduler(self.metadata, self.queue, self.leases, timings(configuration))
        self.mirrors: Mirrors | None = None

    def start(self) -> None:
        """Begin what is done in the background."""
        self.worker.start()
        self.scheduler.start()
        self.health.start()

    async def application(self) -> Application:
        """The ASGI application; from now on every endpoint of notifications has its place in the outbox."""
        configuration = self.configuration
        await self.notifications.register()
        pull = self._pull()
        if await are_on(self.metadata, configuration.accounts):
            self.accounts = await self._open_accounts()
            self.guard = self.accounts.gate
            self.outbox.reactions = reactions(self.accounts, self.triggers)
        else:
            self.guard = guard(configuration.auth)
        admission = Admission(rules(self.accounts, self.mirrors))
        if self.mirrors is not None:
            self._mirror(self.mirrors)
        secret = configuration.http.secret.get_secret_value() or await _installation_secret(self.metadata)
        services = Services(
            guard=self.guard,
            pull=pull,
            push=Push(self.metadata, self.store, self.outbox, push_policy(configuration), admission),
            uploads=Uploads(self.metadata, self.store, self.outbox, secret.encode(), admission),
            delete=Delete(self.metadata, self.outbox, admission),
            metadata=self.metadata,
            manners=settings.manners(
                configuration, sees_all=isinstance(self.guard, Open | Htpasswd), accounts=self.accounts is not None
            ),
            accounts=self.accounts,
            replicate=self.replicate,
            queue=self.queue,
            failing=self.health.failing,
        )
        if self.accounts is not None:
            verbs = services.pull, services.push, services.uploads, services.delete
            self.replicate.open(partial(Local, *verbs), self.accounts.seal)
        return Application(services, settings.headers(configuration), self._observer(), self.health.failing)

    def _pull(self) -> Pull:
        about = self.metadata, self.store, self.outbox, self._outage
        if not settings.upstreams(self.configuration):
            return Pull(*about)
        self.mirrors = Mirrors(*about)
        return self.mirrors

    def _mirror(self, mirrors: Mirrors) -> None:
        for prefix, section in settings.upstreams(self.configuration).items():
            upstream = Upstream.of(section, prefix)
            mirror = Mirror(
                self.metadata,
                self.store,
                self.outbox,
                upstream,
                leases=self.leases,
                revalidate=section.revalidate.total_seconds(),
                outage=self._outage,
                depth=self.configuration.limits.manifestdepth,
                folder=self.root,
                admission=Admission(rules_of_mirrors(self.accounts)),
                contents=mirrors.contents,
            )
            mirrors.add(Branch(mirror, upstream, patterns(section.allow), patterns(section.deny)))

    async def _open_accounts(self) -> Accounts:
        configuration = self.configuration
        seal = Seal(read_key(settings.seal_path(configuration, self.root)))
        accounts = Accounts(self.metadata, self.outbox, seal, settings.account_settings(configuration))
        await accounts.open()
        for mirror in configuration.mirrors:
            await self.metadata.write(lambda tx, m=mirror: projects.ensure(tx, m.begins, public=m.public))  # type: ignore[misc]
        return accounts

    def debug(self) -> DebugApplication:
        """The ASGI application of the debug address."""
        figures = None
        if self.metrics is not None:
            figures = Figures(self.metrics, self.collect, self.store, self.notifications, self.health, self.metadata)
        return DebugApplication(self.health, figures, self.configuration.http.debug.prometheus.path)

    def _observer(self) -> RequestObserver:
        log = self.configuration.log
        access = None if log.accesslog.disabled else AccessLog()
        return RequestObserver(access, self.metrics, lines=access is None and log.formatter != "text")

    async def close(self) -> None:
        """Finish what was begun, in the order in which one thing needs another."""
        await self.scheduler.stop()
        await self.worker.stop()
        await self.health.stop()
        if self.mirrors is not None:
            await self.mirrors.close()
        await self.outbox.flush()
        if self.accounts is not None:
            await self.accounts.close()
        else:
            self.guard.close()
        await self.metadata.close()
        await self.store.close()


def _connections(configuration: Configuration) -> dict[str, Any]:
    database = configuration.database
    prepared = {"auto": None, "always": True, "never": False}[database.prepared]
    return {"connections": database.connections, "wait": database.wait.total_seconds(), "prepared": prepared}


def rules(accounts: Accounts | None, mirrors: Mirrors | None = None) -> dict[type, Sequence[Rule]]:
    """Who answers the questions that the registry asks, in this order and in the same transaction."""
    first = (mirrors.refuse,) if mirrors is not None else ()
    if accounts is None:
        return {UploadBegins: first, BlobArrives: first, ManifestArrives: first}
    return {
        UploadBegins: (*first, accounts.belonging.begins),
        BlobArrives: (*first, accounts.belonging.arrives, accounts.quotas.fits),
        ManifestArrives: (*first, accounts.belonging.arrives, accounts.quotas.reserve),
        ManifestGoes: (accounts.quotas.release,),
    }


COLLECTED: Mapping[type, Sequence[Rule]] = {ManifestCollected: (collected,)}
"""Who hears of what is collected, accounts or not."""


def rules_of_mirrors(accounts: Accounts | None) -> dict[type, Sequence[Rule]]:
    """The same for what a mirror fetches."""
    governed = rules(accounts)
    return {BlobArrives: governed[BlobArrives], ManifestArrives: (*governed[ManifestArrives], brought)}


def reactions(accounts: Accounts, triggers: Triggers) -> Sequence[Reaction]:
    """What follows from an event in its own transaction."""
    return (accounts.recorder.react, triggers.react)


JOBS: Mapping[str, Callable[[Registry], Kind | None]] = {
    "collect": lambda registry: _upkeep(registry, partial(_collect, registry)),
    "purge-uploads": lambda registry: _upkeep(registry, _purge(registry).work),
    "prune-jobs": lambda registry: Kind(History(registry.metadata, **registry.remembered).prune),
    "notify": lambda registry: registry.notifications.kind,
    "tend-accounts": lambda registry: _upkeep(registry, partial(_tend, registry)),
    "sync-directory": lambda registry: Kind(partial(_sync, registry)),
    "expire-mirror": lambda registry: _mirroring(expire, registry),
    "evict-mirror": lambda registry: _mirroring(evict, registry),
    "purge-audit": lambda registry: Kind(AuditPurge(registry.metadata).work),
    "audit-syslog": lambda registry: _syslog(registry),  # noqa: PLW0108 - it stands further down
    "replicate": lambda registry: registry.replicate.kind,
    "replicate-scheduled": lambda registry: Kind(registry.triggers.scheduled),
    "tend-replication": lambda registry: Kind(registry.triggers.tend),
}
"""Every kind of job; None: not done in this process."""

SCHEDULES: Mapping[str, Callable[[Configuration], str | None]] = {
    "collect": lambda c: every(c.collect.interval) if c.collect.enabled and not _read_only(c) else None,
    "purge-uploads": lambda c: every(_purging(c).interval) if _purging(c).enabled and not _read_only(c) else None,
    "prune-jobs": lambda c: "@hourly",
    # also where they are not named: they may be on because they were
    "tend-accounts": lambda c: "@hourly" if c.accounts is None or c.accounts.enabled else None,
    "tend-replication": lambda c: "@every 5m" if c.accounts is None or c.accounts.enabled else None,
    "sync-directory": lambda c: _comparing(c),  # noqa: PLW0108 - it stands further down
    "expire-mirror": lambda c: "@hourly" if any(keep.ttl for keep in settings.keeps(c)) else None,
    "evict-mirror": lambda c: "@every 1m" if any(keep.most for keep in settings.keeps(c)) else None,
    "audit-syslog": lambda c: "@every 10s" if c.accounts is not None and c.accounts.audit.syslog else None,
}
"""When a job is enqueued by itself; None: never."""


def timings(configuration: Configuration) -> Mapping[str, str]:
    """The schedules in force."""
    return {name: timing for name, made in SCHEDULES.items() if (timing := made(configuration)) is not None}


def _upkeep(registry: Registry, run: Callable[[Task], Awaitable[object]]) -> Kind | None:
    return None if _read_only(registry.configuration) else Kind(run)


def _mirroring(job: Callable[..., Awaitable[object]], registry: Registry) -> Kind:
    return Kind(partial(job, registry.metadata, Admission(COLLECTED), settings.keeps(registry.configuration)))


async def _collect(registry: Registry, task: Task) -> object:
    waits = partial(task.log, "waits for one that was begun from the shell")
    async with registry.leases.holding(COLLECTION, waits):
        return await registry.collect.work(settings.terms(registry.configuration), task)


def _purge(registry: Registry) -> Purge:
    purging = _purging(registry.configuration)
    return Purge(registry.store, age=purging.age, dry_run=purging.dryrun)


async def _tend(registry: Registry, task: Task) -> object:
    if not await are_on(registry.metadata, registry.configuration.accounts):
        return None
    seal = Seal(read_key(settings.seal_path(registry.configuration, registry.root)))
    return await tend(registry.metadata, seal, settings.account_settings(registry.configuration), task)


def _syslog(registry: Registry) -> Kind | None:
    section = registry.configuration.accounts
    return Kind(Syslog(registry.metadata, section.audit.syslog).work) if section and section.audit.syslog else None


async def _sync(registry: Registry, task: Task) -> object:
    if not await are_on(registry.metadata, registry.configuration.accounts):
        return None
    seal = Seal(read_key(settings.seal_path(registry.configuration, registry.root)))
    configured = settings.account_settings(registry.configuration)
    ways = in_force(decoded(await stored(registry.metadata)), seal, configured)
    return await Sync(registry.metadata, ways.directory).work(task) if ways.directory is not None else None


def _comparing(configuration: Configuration) -> str | None:
    """When a directory is compared with; also where none is configured, since one may be set."""
    section = configuration.accounts
    if section is not None and not section.enabled:
        return None
    return every(section.ldap.sync if section is not None and section.ldap is not None else LdapSection().sync)


def _purging(configuration: Configuration) -> UploadPurging:
    return configuration.storage.maintenance.uploadpurging


def _read_only(configuration: Configuration) -> bool:
    return configuration.storage.maintenance.readonly.enabled


async def _installation_secret(metadata: Metadata) -> str:
    """A secret that all processes on this index share, made by the first of them."""

    async def keep(tx: Transaction) -> str:
        await tx.execute(_KEEP_SECRET, name="secret", value=secrets.token_hex(32))
        return str(await tx.value(_SECRET, name="secret"))

    row = await metadata.row(_SECRET, name="secret")
    return str(row[0]) if row else await metadata.write(keep)
