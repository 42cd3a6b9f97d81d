"""Accounts as a whole: what they begin with, and what one process needs to serve them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lading.access.accounts import AccountsFile
from lading.access.authenticate import Authenticate
from lading.access.clientcertificates import ClientCertificates, Naming, read_authorities
from lading.access.directory.settings import DirectorySettings
from lading.access.failures import Failures, Lockout
from lading.access.gate import Gate
from lading.access.identities import SOURCE as OIDC
from lading.access.identities import Identities
from lading.access.members import DEFAULT
from lading.access.oidc import OidcSettings
from lading.access.outbound import Outbound
from lading.access.passwords import Checker, Policy, hashed
from lading.access.principal import Kind, Principal
from lading.access.providers.base import IdentityProvider
from lading.access.providers.htpasswd import HtpasswdFile
from lading.access.providers.local import Local
from lading.access.refresh import RefreshTokens
from lading.access.revocations import Revocations
from lading.access.rights import Rights
from lading.access.sealing import Seal
from lading.access.service import Lifetimes, TokenService
from lading.access.sessions import Sessions, SessionTimes
from lading.access.signing import Keyring, SigningKeys
from lading.access.trusts import Configured, Trusts, Workloads
from lading.access.users import User, Users
from lading.control import switch
from lading.control.audit import Recorder, purge
from lading.control.projects import Belonging, Bringer, Projects
from lading.control.quotas import QuotaRules, Quotas
from lading.control.settings import EVERYONE
from lading.control.settings import read as changed
from lading.control.sources import Sources
from lading.errors import ConfigurationError, Conflict, Denied, Invalid
from lading.jobs.kinds import Task
from lading.jobs.outbox import Outbox
from lading.registry.sight import Sight
from lading.stores.metadata.transaction import Metadata, Transaction

TOKEN_PATH = "/service/token"  # noqa: S105 - a path


@dataclass(frozen=True)
class Settings:
    """What the configuration says of accounts; times in milliseconds. ``shared``: the projects that mirrors bring into."""

    admin: str = "admin"
    password: str = ""
    realm: str = ""
    prefix: str = ""
    service: str = "lading"
    issuer: str = "lading"
    services: tuple[str, ...] = ()
    lifetimes: Lifetimes = field(default_factory=lambda: Lifetimes(600_000, 30 * 86_400_000))
    key_lifetime: int = 90 * 86_400_000
    anonymous: bool = True
    public: bool = False
    create_on_push: bool = False
    self_registration: bool = False
    everyone_creates: bool = True
    policy: Policy = field(default_factory=Policy)
    lockout: Lockout = field(default_factory=Lockout)
    pulls: str = "summed"
    audit_keep: int = 90 * 86_400_000
    htpasswd: Path | None = None
    certificates: tuple[Naming, ...] = ()
    certificate_header: str = ""
    certificate_authorities: tuple[Path, ...] = ()
    sessions: SessionTimes = field(default_factory=SessionTimes)
    identity_networks: tuple[str, ...] = ()
    oidc: OidcSettings | None = None
    trusts: tuple[Configured, ...] = ()
    ldap: DirectorySettings | None = None
    shared: frozenset[str] = frozenset()


async def set_up(metadata: Metadata, seal: Seal, settings: Settings) -> list[str]:
    """Make what accounts begin with and is not there yet; what to tell whoever started this.

    An administrator, a key to sign with, the project ``library``, and projects for repositories that were there before.
    """
    told: list[str] = []
    password = settings.password
    missing = not await metadata.read(lambda tx: Users(tx).any_admin())
    if missing and password:
        try:
            settings.policy.check(password, settings.admin)
        except Invalid as error:
            problem = f"accounts.adminpassword (LADING_ADMIN_PASSWORD): {error.message}"
            raise ConfigurationError(problem, [problem]) from None
    stored = ""
    if missing:
        password = password or secrets.token_urlsafe(18) + "-1aA"
        stored = hashed(password)

    async def begin(tx: Transaction) -> list[str]:
        await switch.note(tx, on=True)
        keys = SigningKeys(tx, seal)
        await keys.rotate(settings.issuer, age=settings.key_lifetime, lifetime=2 * settings.lifetimes.token)
        admin = await _admin(tx, settings.admin, stored) if missing else None
        projects = Projects(tx)
        if await projects.named(DEFAULT) is None:
            await projects.add(DEFAULT, admin.id if admin else None, public=settings.public)
        return await projects.adopt(admin.id if admin else await _some_admin(tx))

    adopted = await metadata.write(begin)
    if missing and not settings.password:
        told.append(f"the administrator {settings.admin} was made, with the password {password} (shown this once)")
    if adopted:
        names = ", ".join(adopted[:10]) + (f" and {len(adopted) - 10} more" if len(adopted) > 10 else "")
        told.append(f"private projects were made for repositories that were here before: {names}")
    return told + await _settle(metadata, settings)


async def _settle(metadata: Metadata, settings: Settings) -> list[str]:
    """Bring the robots of ``accounts.trust`` to what the configuration says of them."""

    async def settle(tx: Transaction) -> list[str]:
        named = {one.project for one in settings.trusts}
        found = [await Projects(tx).named(name) for name in sorted(named)]
        return await Trusts(tx).settle(settings.trusts, {one.name: one.id for one in found if one is not None})

    try:
        return await metadata.write(settle)
    except (Conflict, Invalid) as error:
        problem = f"accounts.trust: {error.message}"
        raise ConfigurationError(problem, [problem]) from None


async def _admin(tx: Transaction, name: str, stored: str) -> User:
    users = Users(tx)
    found = await users.named(name)
    if found is None:
        return await users.add(name, password=stored, admin=True)
    await users.set_password(found, stored)
    await users.set_disabled(found, disabled=False)
    await users.set_admin(found, admin=True)
    return found


async def _some_admin(tx: Transaction) -> int | None:
    _, users = await Users(tx).page("", 10_000)
    return next((user.id for user in users if user.admin), None)


async def tend(metadata: Metadata, seal: Seal, settings: Settings, task: Task) -> dict[str, int]:
    """The job done once in a while: another key if it is time, old rows forgotten, quotas counted anew."""

    async def forget(tx: Transaction) -> None:
        keys = SigningKeys(tx, seal)
        await keys.rotate(settings.issuer, age=settings.key_lifetime, lifetime=2 * settings.lifetimes.token)
        await RefreshTokens(tx).forget()
        await Sessions(tx, settings.sessions).forget()
        await Identities(tx, seal).depart()
        await Failures(tx, settings.lockout).forget()
        await Revocations(tx).forget(tx.now - 2 * settings.lifetimes.token - 86_400_000)

    await metadata.write(forget)
    purged = await purge(metadata, settings.audit_keep)
    projects = await metadata.read(lambda tx: Quotas(tx).projects())
    for done, project in enumerate(projects):
        task.progress(done, len(projects), "counting what projects use")
        await metadata.write(lambda tx, project=project: Quotas(tx).settle(project))  # type: ignore[misc]
    return {"projects": len(projects), "purged": purged}


class Accounts:
    """What one process needs: the guard, the token service, the rules, and who takes notes."""

    def __init__(self, metadata: Metadata, outbox: Outbox, seal: Seal, settings: Settings) -> None:
        self._metadata = metadata
        self.settings = settings
        self.seal = seal
        self.recorder = Recorder(metadata, pulls=settings.pulls)
        self.checker = Checker()
        self.keyring = Keyring(seal, settings.issuer, settings.service)
        self.outbound = Outbound(settings.identity_networks, settings.oidc.ca if settings.oidc else "")
        self.sources = Sources(metadata, seal, settings, self.outbound, self._here())
        self.authenticate = Authenticate(
            metadata,
            self.sources,
            self.checker,
            settings.lockout,
            self.recorder,
            alive=self.alive,
            workloads=Workloads(metadata, self.outbound),
        )
        self.certificates: ClientCertificates | None = None
        if settings.certificates:
            authorities = read_authorities(settings.certificate_authorities)
            self.certificates = ClientCertificates(settings.certificates, authorities)
        self.gate = Gate(
            metadata,
            self.keyring,
            self.authenticate,
            realm=settings.realm,
            path=settings.prefix + TOKEN_PATH,
            anonymous=settings.anonymous,
        )
        self.tokens = TokenService(metadata, self.keyring, settings.lifetimes, anonymous=settings.anonymous)
        self.belonging = Belonging(create=settings.create_on_push, public=settings.public)
        self.mirrored = Belonging(bringer=Bringer.MIRROR)
        self.proxied = Belonging(bringer=Bringer.PROXY)
        self.quotas = QuotaRules(outbox, self.recorder.refused, settings.shared)

    async def open(self) -> None:
        """Read what is needed before the first request, and begin to look for what changes."""
        self.quotas.loop = asyncio.get_running_loop()
        await self.gate.look()
        self.gate.watch()

    async def sight(self, tx: Transaction, who: Principal) -> Sight:
        """Which repositories and projects a caller sees in lists."""
        rights = await Rights.of(tx, who, anonymous=self.settings.anonymous)
        if who.limits:
            return Sight(everything=False)
        if rights.admin:
            return Sight()
        known = rights.who.kind is not Kind.ANONYMOUS
        return Sight(
            everything=False,
            public=known or (self.settings.anonymous and who.kind is Kind.ANONYMOUS),
            user=rights.who.id if rights.who.kind is Kind.USER else 0,
            robot=rights.who.id if rights.who.kind is Kind.ROBOT else 0,
        )

    async def register(self, name: str, password: str, *, email: str = "", full_name: str = "") -> User:
        """Make an account for somebody who asks for one; raises ``Denied`` where people cannot do that themselves."""
        if not self.settings.self_registration:
            raise Denied("accounts are made by an administrator here (accounts.selfregistration)")
        self.settings.policy.check(password, name)
        stored = await self.checker.hashed(password)
        return await self._metadata.write(
            lambda tx: Users(tx).add(name, password=stored, email=email, full_name=full_name)
        )

    async def alive(self, source: str, user: int) -> bool:
        """Whether the source of a user's identity still knows them, as far as it can be asked without a password."""
        if source != OIDC:
            return True
        oidc = (await self.sources.current()).oidc
        found = await self._metadata.read(lambda tx: Users(tx).find(user)) if oidc is not None else None
        return oidc is not None and found is not None and await oidc.alive(found)

    async def may_create_projects(self, tx: Transaction, rights: Rights) -> bool:
        """Whether a caller may make projects: every user, or administrators and who was given it, as is set now."""
        if await rights.allowed("project", "create"):
            return True
        person = rights.who.kind is Kind.USER and not rights.who.limits
        return person and (await changed(tx)).creators(self.settings) == EVERYONE

    async def close(self) -> None:
        """Write what was noted, and let go of threads."""
        self.gate.close()
        await self.recorder.close()
        await self.outbound.close()

    def _here(self) -> Sequence[IdentityProvider]:
        providers: list[IdentityProvider] = [Local(self._metadata, self.checker)]
        if self.settings.htpasswd is not None:
            providers.append(HtpasswdFile(self._metadata, self.checker, AccountsFile(self.settings.htpasswd)))
        return providers
