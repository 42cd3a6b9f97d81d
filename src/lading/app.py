"""The composition root: builds a registry from its configuration, in the one place that knows all the parts.

One :class:`Registry` serves in one process. Whatever happens elsewhere than where you are reading is listed here:
``JOBS`` is what can be done in the background, ``SCHEDULES`` when it is, and :meth:`Registry.start` begins.

What only some registries need is imported where they are told apart (:func:`besides` names it): that is most of the
program, and a registry that has no accounts is ready in half the time without.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lading import settings
from lading.access.guard import Guard, Open, guard
from lading.api.application import Application
from lading.api.distribution import routes
from lading.api.observer import AccessLog, RequestObserver
from lading.api.services import Services
from lading.config.ldap import Ldap as LdapSection
from lading.config.model import Configuration
from lading.config.storage import UploadPurging
from lading.config.values import milliseconds
from lading.control.health import Health
from lading.control.notifications import Notifications
from lading.control.usages import collected
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
from lading.registry.mirrored import brought, evict, expire
from lading.registry.pull import Pull
from lading.registry.purge import Purge
from lading.registry.push import Push, push_policy
from lading.registry.uploads import Uploads
from lading.stores.blobs.driver import open_store
from lading.stores.metadata import facts
from lading.stores.metadata.engine import is_remote, open_index, require_index
from lading.stores.metadata.transaction import Metadata

if TYPE_CHECKING:
    from lading.access.sealing import Seal
    from lading.api.accounts import AccountsFace
    from lading.api.debug import DebugApplication
    from lading.control.accounts import Accounts
    from lading.control.proxies import Proxies
    from lading.control.replication.run import Replicate
    from lading.control.replication.triggers import Triggers
    from lading.registry.mirror import Mirror
    from lading.registry.mirrors import Mirrors
    from lading.registry.upstream import Upstream
    from lading.telemetry.metrics import Metrics


class Registry:
    """Everything one process needs to serve; made on the event loop it serves on.

    ``governed``: accounts are on.
    """

    def __init__(self, configuration: Configuration, root: Path | None, index: str, *, governed: bool) -> None:
        self.governed = governed
        self.configuration = configuration
        self.store = open_store(configuration.storage, root)
        require_index(
            index
        )  # whoever starts the processes made it; one made here would stand in for one that was moved away
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
        self.metrics = _counting(configuration, paths, [endpoint.name for endpoint in endpoints])
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
        self.replicate: Replicate | None = None
        self.triggers: Triggers | None = None
        if governed:
            self.replicate, self.triggers = self._replication()
        kinds = {name: kind for name, make in JOBS.items() if (kind := make(self)) is not None}
        self.worker = Worker(self.queue, kinds, slots=configuration.jobs.concurrency, counting=self.metrics)
        self.leases = Leases(self.metadata, process)
        self.scheduler = Scheduler(self.metadata, self.queue, self.leases, timings(configuration, governed=governed))
        self.mirrors: Mirrors | None = None
        self.proxies: Proxies | None = None

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
        if self.governed:
            self.accounts = await self._open_accounts()
            self.guard = self.accounts.gate
            self.outbox.reactions = reactions(self.accounts, self.triggers)
        else:
            self.guard = guard(configuration.auth, provision=False)
        admission = Admission(rules(self.accounts, self.mirrors))
        if self.mirrors is not None:
            self._mirror(self.mirrors, self.accounts)
        secret = configuration.http.secret.get_secret_value() or await _installation_secret(self.metadata)
        services = Services(
            guard=self.guard,
            pull=pull,
            push=Push(self.metadata, self.store, self.outbox, push_policy(configuration), admission),
            uploads=Uploads(self.metadata, self.store, self.outbox, secret.encode(), admission),
            delete=Delete(self.metadata, self.outbox, admission),
            metadata=self.metadata,
            manners=settings.manners(
                configuration, sees_all=not self.governed and configuration.auth.token is None, accounts=self.governed
            ),
            accounts=self.accounts,
            replicate=self.replicate,
            queue=self.queue,
            failing=self.health.failing,
        )
        face = self._accounts_face(services, self.accounts) if self.accounts is not None else None
        return Application(services, settings.headers(configuration), self._observer(), self.health.failing, face)

    def _pull(self) -> Pull:
        about = self.metadata, self.store, self.outbox, self._outage
        if not settings.upstreams(self.configuration) and not self.governed:
            return Pull(*about)
        from lading.registry.mirrors import Mirrors

        self.mirrors = Mirrors(*about)
        return self.mirrors

    def _mirror(self, mirrors: Mirrors, accounts: Accounts | None) -> None:
        from lading.registry.mirrors import Branch, patterns
        from lading.registry.upstream import Upstream

        admission = Admission(rules_of_mirrors(accounts))
        for prefix, section in settings.upstreams(self.configuration).items():
            upstream = Upstream.of(section, prefix)
            mirror = self._mirror_of(upstream, mirrors, admission, section.revalidate)
            mirrors.add(Branch(mirror, upstream, patterns(section.allow), patterns(section.deny)))
        if accounts is not None:
            from lading.control.proxies import Proxies

            admission, revalidate = Admission(rules_of_proxies(accounts)), self.configuration.proxy.revalidate
            networks = self.configuration.replication.networks
            self.proxies = mirrors.others = Proxies(
                self.metadata,
                accounts.seal,
                networks,
                lambda upstream, stays: self._mirror_of(upstream, mirrors, admission, revalidate, stays=stays),
            )

    def _mirror_of(
        self, upstream: Upstream, mirrors: Mirrors, admission: Admission, revalidate: timedelta, *, stays: bool = False
    ) -> Mirror:
        from lading.registry.mirror import Mirror

        return Mirror(
            self.metadata,
            self.store,
            self.outbox,
            upstream,
            leases=self.leases,
            revalidate=revalidate.total_seconds(),
            outage=self._outage,
            depth=self.configuration.limits.manifestdepth,
            folder=self.root,
            stays=stays,
            admission=admission,
            contents=mirrors.contents,
        )

    def _replication(self) -> tuple[Replicate, Triggers]:
        from lading.control.replication.here import Own
        from lading.control.replication.run import Replicate
        from lading.control.replication.triggers import Triggers

        own = Own(tuple(settings.upstreams(self.configuration)))
        replicate = Replicate(self.metadata, self.queue, self.configuration.replication.networks, own)
        return replicate, Triggers(self.metadata, self.queue, replicate, **self.remembered)

    def _accounts_face(self, services: Services, accounts: Accounts) -> AccountsFace:
        from lading.api.accounts import AccountsFace
        from lading.registry.local import Local

        assert self.replicate is not None
        # what is replicated is what is here: that a policy takes many images must not use up an upstream's limit
        pull = self.mirrors.here() if self.mirrors is not None else services.pull
        verbs = pull, services.push, services.uploads, services.delete
        self.replicate.open(partial(Local, *verbs), accounts.seal)
        return AccountsFace(services, accounts)

    async def _open_accounts(self) -> Accounts:
        from lading.control import projects
        from lading.control.accounts import Accounts

        configuration = self.configuration
        accounts = Accounts(self.metadata, self.outbox, self.seal(), settings.account_settings(configuration))
        await accounts.open()
        for mirror in configuration.mirrors:
            await self.metadata.write(lambda tx, m=mirror: projects.ensure(tx, m.begins, public=m.public))  # type: ignore[misc]
        return accounts

    def seal(self) -> Seal:
        """What opens and closes the secrets that are kept in the index."""
        from lading.access.sealing import Seal, read_key

        return Seal(read_key(settings.seal_path(self.configuration, self.root)))

    def debug(self) -> DebugApplication:
        """The ASGI application of the debug address."""
        from lading.api.debug import DebugApplication, Figures

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
        if self.proxies is not None:
            await self.proxies.close()
        await self.outbox.close()
        if self.accounts is not None:
            await self.accounts.close()
        else:
            self.guard.close()
        await self.metadata.close()
        await self.store.close()


def besides(configuration: Configuration, *, governed: bool) -> Iterator[str]:
    """The modules that this registry needs and not every one does; whoever forks imports them before."""
    if governed:
        yield from ("lading.api.accounts", "lading.registry.local", "lading.control.replication.triggers")
        yield from (
            "lading.control.auditpurge",
            "lading.control.directory",
            "lading.control.proxies",
            "lading.remotes.sockets",
        )
    elif configuration.auth.htpasswd is not None:
        yield "lading.access.htpasswd"
    elif configuration.auth.token is not None:
        yield "lading.access.tokens"
    if settings.upstreams(configuration):
        yield from ("lading.registry.mirrors", "lading.registry.upstream", "lading.remotes.sockets")
    if configuration.http.debug.address is not None:
        yield "lading.api.debug"


def _counting(configuration: Configuration, paths: Sequence[str], endpoints: Sequence[str]) -> Metrics | None:
    if not configuration.http.debug.prometheus.enabled:
        return None
    from lading.telemetry import metrics

    return metrics.attach(paths, endpoints, list(JOBS))


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
    if accounts is None:
        return {ManifestArrives: (brought,)}
    return {
        BlobArrives: (accounts.mirrored.arrives,),
        ManifestArrives: (accounts.mirrored.arrives, accounts.quotas.count, brought),
    }


def rules_of_proxies(accounts: Accounts) -> dict[type, Sequence[Rule]]:
    """The same for what comes into a proxy project."""
    return {
        BlobArrives: (accounts.proxied.arrives,),
        ManifestArrives: (accounts.proxied.arrives, accounts.quotas.count, brought),
    }


def reactions(accounts: Accounts, triggers: Triggers | None) -> Sequence[Reaction]:
    """What follows from an event in its own transaction."""
    return (accounts.recorder.react, *((triggers.react,) if triggers is not None else ()))


JOBS: Mapping[str, Callable[[Registry], Kind | None]] = {
    "collect": lambda registry: _upkeep(registry, partial(_collect, registry)),
    "purge-uploads": lambda registry: _upkeep(registry, _purge(registry).work),
    "prune-jobs": lambda registry: Kind(History(registry.metadata, **registry.remembered).prune),
    "notify": lambda registry: registry.notifications.kind,
    "tend-accounts": lambda registry: _upkeep(registry, partial(_tend, registry)) if registry.governed else None,
    "sync-directory": lambda registry: Kind(partial(_sync, registry)) if registry.governed else None,
    "expire-mirror": lambda registry: _mirroring(expire, registry),
    "evict-mirror": lambda registry: _mirroring(evict, registry),
    "purge-audit": lambda registry: _purge_audit(registry),  # noqa: PLW0108 - it stands further down
    "audit-syslog": lambda registry: _syslog(registry),  # noqa: PLW0108 - it stands further down
    "replicate": lambda registry: registry.replicate.kind if registry.replicate else None,
    "replicate-scheduled": lambda registry: Kind(registry.triggers.scheduled) if registry.triggers else None,
    "tend-replication": lambda registry: Kind(registry.triggers.tend) if registry.triggers else None,
    "tend-proxies": lambda registry: Kind(partial(_tend_proxies, registry)) if registry.governed else None,
}
"""Every kind of job; None: not done in this process."""

GOVERNED = frozenset(
    [
        "tend-accounts",
        "sync-directory",
        "purge-audit",
        "audit-syslog",
        "replicate",
        "replicate-scheduled",
        "tend-replication",
        "tend-proxies",
    ]
)
"""Those that only a registry with accounts has."""

SCHEDULES: Mapping[str, Callable[[Configuration], str | None]] = {
    "collect": lambda c: every(c.collect.interval) if c.collect.enabled and not _read_only(c) else None,
    "purge-uploads": lambda c: every(_purging(c).interval) if _purging(c).enabled and not _read_only(c) else None,
    "prune-jobs": lambda c: "@hourly",
    "tend-accounts": lambda c: "@hourly",
    "tend-replication": lambda c: "@every 5m",
    "tend-proxies": lambda c: "@every 5m",
    "sync-directory": lambda c: _comparing(c),  # noqa: PLW0108 - it stands further down
    "expire-mirror": lambda c: "@hourly" if any(keep.ttl for keep in settings.keeps(c)) else None,
    "evict-mirror": lambda c: "@every 1m" if any(keep.most for keep in settings.keeps(c)) else None,
    "audit-syslog": lambda c: "@every 10s" if c.accounts is not None and c.accounts.audit.syslog else None,
}
"""When a job is enqueued by itself; None: never."""


def timings(configuration: Configuration, *, governed: bool) -> Mapping[str, str]:
    """The schedules in force."""
    made = {name: make(configuration) for name, make in SCHEDULES.items() if governed or name not in GOVERNED}
    return {name: timing for name, timing in made.items() if timing is not None}


def _upkeep(registry: Registry, run: Callable[[Task], Awaitable[object]]) -> Kind | None:
    return None if _read_only(registry.configuration) else Kind(run)


def _mirroring(job: Callable[..., Awaitable[object]], registry: Registry) -> Kind:
    return Kind(partial(job, registry.metadata, Admission(COLLECTED), settings.keeps(registry.configuration)))


async def _tend_proxies(registry: Registry, task: Task) -> object:
    from lading.control.proxies import tend

    configuration = registry.configuration
    shared = sorted({mirror.project for mirror in configuration.mirrors})
    return await tend(registry.metadata, Admission(COLLECTED), milliseconds(configuration.proxy.ttl), shared, task)


async def _collect(registry: Registry, task: Task) -> object:
    waits = partial(task.log, "waits for one that was begun from the shell")
    async with registry.leases.holding(COLLECTION, waits):
        return await registry.collect.work(settings.terms(registry.configuration), task)


def _purge(registry: Registry) -> Purge:
    purging = _purging(registry.configuration)
    return Purge(registry.store, age=purging.age, dry_run=purging.dryrun)


async def _tend(registry: Registry, task: Task) -> object:
    from lading.control.accounts import tend

    return await tend(registry.metadata, registry.seal(), settings.account_settings(registry.configuration), task)


def _purge_audit(registry: Registry) -> Kind | None:
    if not registry.governed:
        return None
    from lading.control.auditpurge import AuditPurge

    return Kind(AuditPurge(registry.metadata).work)


def _syslog(registry: Registry) -> Kind | None:
    section = registry.configuration.accounts
    if not registry.governed:
        return None
    from lading.control.audit import Syslog

    return Kind(Syslog(registry.metadata, section.audit.syslog).work) if section and section.audit.syslog else None


async def _sync(registry: Registry, task: Task) -> object:
    from lading.control.directory import Sync
    from lading.control.logins import decoded, in_force, stored

    configured = settings.account_settings(registry.configuration)
    ways = in_force(decoded(await stored(registry.metadata)), registry.seal(), configured)
    return await Sync(registry.metadata, ways.directory).work(task) if ways.directory is not None else None


def _comparing(configuration: Configuration) -> str | None:
    """When a directory is compared with; also where none is configured, since one may be set."""
    section = configuration.accounts
    return every(section.ldap.sync if section is not None and section.ldap is not None else LdapSection().sync)


def _purging(configuration: Configuration) -> UploadPurging:
    return configuration.storage.maintenance.uploadpurging


def _read_only(configuration: Configuration) -> bool:
    return configuration.storage.maintenance.readonly.enabled


async def _installation_secret(metadata: Metadata) -> str:
    """A secret that all processes on this index share, made by the first of them."""
    secret = await facts.read(metadata, "secret")
    return secret or str(await metadata.write(lambda tx: facts.first(tx, "secret", secrets.token_hex(32))))
