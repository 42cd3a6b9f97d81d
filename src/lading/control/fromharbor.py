"""From a Harbor: its users, groups, projects, members, labels, quotas and robots, read over its API and made here.

What is there already stays as it is, so it can be run again, and goes on where it was cut off. Each project comes in one
transaction. What is not taken is told by name. Content comes by copying images; nothing here touches it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lading.access import credentials
from lading.access.groups import Group, Groups
from lading.access.identities import SOURCE as OIDC
from lading.access.identities import Identities, Person
from lading.access.members import KindOfMember, Members
from lading.access.permissions import DEVELOPER, GUEST, LIMITED_GUEST, MAINTAINER, PROJECT_ADMIN, unknown
from lading.access.robots import FOR_EVER, SYSTEM, RobotGrant, Robots
from lading.access.sealing import Seal
from lading.access.users import LOCAL, User, Users
from lading.access.users import check_name as check_user
from lading.control.audit import Audit
from lading.control.labels import Labels
from lading.control.labels import check as check_label
from lading.control.projects import Project, Projects
from lading.control.projects import check_name as check_project
from lading.control.quotas import Quotas
from lading.errors import Conflict, Denied, Invalid
from lading.jobs.events import By
from lading.stores.metadata.transaction import Metadata, Transaction

KEPT = frozenset({"auto_sbom_generation", "auto_scan", "reuse_sys_cve_allowlist", "severity"})
UNENFORCED = frozenset({"prevent_vul", "enable_content_trust", "enable_content_trust_cosign"})
"""Settings of projects that come along; the second kind keep images from being pulled there, and do not here."""
_PASSED_OVER = frozenset({"public", "retention_id"})
_ROLES = frozenset({PROJECT_ADMIN, DEVELOPER, GUEST, MAINTAINER, LIMITED_GUEST})
_SOURCES = {1: "ldap", 2: LOCAL, 3: "oidc"}
_DAY = 86_400
_OF_SYSTEM = (
    ("registry endpoint", "/registries", "name", "Harbor does not hand out its secret; POST /registries makes it here"),
    ("replication policy", "/replication/policies", "name", "POST /replication/policies makes it here"),
    ("scanner", "/scanners", "name", "scanning comes with a later version"),
)
_OF_PROJECT = (
    ("immutable-tag rule", "/immutabletagrules", "id", "tags can be overwritten here by whoever may push"),
    ("webhook policy", "/webhook/policies", "name", "notifications are set in the configuration file"),
)
_SETTINGS = {"db_auth": "", "ldap_auth": "LDAP", "oidc_auth": "OIDC"}


class Source(Protocol):
    """A Harbor that can be read (:class:`lading.remotes.harbor.Harbor`)."""

    async def get(self, path: str, **query: str | int) -> Any: ...
    def all(self, path: str, **query: str | int) -> Any: ...
    async def require(self, path: str) -> dict[str, Any]: ...


@dataclass
class Report:
    """What was made and what was there, counted by kind; and a line for each thing that did not come, with the reason."""

    made: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What came along, but has to be looked at."""

    def count(self, kind: str, *, made: bool) -> None:
        where = self.made if made else self.kept
        where[kind] = where.get(kind, 0) + 1

    def leave(self, kind: str, name: object, why: str) -> None:
        self.left.append(_shown(f"{kind} {name}: {why}"))

    def tell(self, line: str) -> None:
        self.told.append(_shown(line))


Keep = Callable[[str, str], None]
"""Puts a robot's login and secret where they last; called before the robot is there."""


class FromHarbor:
    """One run. ``dry`` changes nothing and says what it would do; ``keep`` is given each robot's new secret.

    ``seal`` closes what is kept of users of an OpenID Connect provider.
    """

    def __init__(
        self,
        metadata: Metadata,
        source: Source,
        by: By,
        keep: Keep,
        seal: Seal,
        *,
        dry: bool = False,
        watch: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._metadata = metadata
        self._source = source
        self._by = by
        self._keep = keep
        self._seal = seal
        self._mode = "db_auth"
        self._dry = dry
        self._watch = watch
        self.report = Report()
        self._users: dict[str, int] = {}
        self._groups: dict[int, int] = {}
        self._prefix = "robot$"

    async def run(self) -> Report:
        """Bring everything; raises ``Denied`` where the login there is no administrator's."""
        me = await self._source.require("/users/current")
        if not me.get("sysadmin_flag"):
            raise Denied("that login is no system administrator's in Harbor; all of it can be read by one alone")
        await self._settings()
        await self._all_users()
        await self._all_groups()
        await self._labels(None)
        quotas = await self._quotas()
        projects = [entry async for entry in self._source.all("/projects")]
        for number, entry in enumerate(projects, start=1):
            self._watch(f"project {number} of {len(projects)}: {_text(entry, 'name')}")
            await self._project(entry, quotas)
        self._watch("robots")
        async for entry in self._source.all("/robots"):
            await self._robot(entry)
        for entry in projects:
            if not entry.get("registry_id"):
                async for robot in self._source.all(
                    "/robots", q=f"Level=project,ProjectID={_number(entry, 'project_id')}"
                ):
                    await self._robot(robot)
        for kind, path, name, why in _OF_SYSTEM:
            await self._leave_all(kind, path, name, why)
        return self.report

    # ---- what is no project's

    async def _settings(self) -> None:
        found = await self._source.get("/configurations") or {}
        values = {name: item.get("value") for name, item in found.items() if isinstance(item, dict)}
        prefix = values.get("robot_name_prefix")
        self._prefix = prefix if isinstance(prefix, str) and prefix else self._prefix
        mode = self._mode = str(values.get("auth_mode", "db_auth"))
        if mode == "oidc_auth":
            self.report.tell("users: those of the provider log in by it here, once accounts.oidc names the same issuer")
        elif mode != "db_auth":
            self.report.tell("users: who is made here is local and disabled, and cannot log in by another source")
            self.report.leave(
                "login by", _SETTINGS.get(mode, mode), "set it up in the configuration file, under accounts"
            )

    async def _all_users(self) -> None:
        async for entry in self._source.all("/users"):
            name, email = _text(entry, "username"), _text(entry, "email")
            subject = await self._subject(entry)

            async def bring(
                tx: Transaction, name: str = name, email: str = email, entry: Any = entry, subject: str = subject
            ) -> int | None:
                users = Users(tx)
                known = await users.of_subject(OIDC, subject) if subject else None
                there = known or await users.named(name) or await users.of_email(email)
                if there is not None:
                    self.report.count("users", made=False)
                    if there.name != name:
                        self.report.tell(f"user {name}: is {there.name} here, by the address {email}")
                    return there.id
                if self._dry:
                    check_user(name)
                    self.report.count("users", made=True)
                    return 0
                about, comment = _text(entry, "realname"), _text(entry, "comment")
                if subject:
                    user = await self._of_provider(tx, Person(subject, name, email, about))
                else:
                    user = await users.add(name, email=email, full_name=about, comment=comment)
                    await users.set_disabled(user, disabled=True)
                await self._note(tx, "user", name)
                self.report.count("users", made=True)
                return user.id

            found = await self._try("user", name, bring)
            if found is not None:
                self._users[name] = found
                if entry.get("sysadmin_flag"):
                    self.report.tell(
                        f"user {name}: is an administrator in Harbor; `lading admin user promote` makes one"
                    )

    async def _subject(self, entry: Mapping[str, Any]) -> str:
        """What the provider calls a user, and its issuer behind that, as Harbor keeps it; empty for those of no provider."""
        if self._mode != "oidc_auth":
            return ""
        found = await self._source.get(f"/users/{_number(entry, 'user_id')}")
        meta = found.get("oidc_user_meta") if isinstance(found, dict) else None
        return _text(meta, "subiss")[:512] if isinstance(meta, dict) else ""

    async def _of_provider(self, tx: Transaction, person: Person) -> User:
        """A user whom the first login at the provider finds, and who has nothing to log in with before."""
        identities = Identities(tx, self._seal)
        user = await identities.welcome(person, person.name)
        await identities.end(user.id)
        return user

    async def _all_groups(self) -> None:
        async for entry in self._source.all("/usergroups"):
            name, number = _text(entry, "group_name"), _number(entry, "id")
            source = _SOURCES.get(_number(entry, "group_type"), LOCAL)
            subject = {"ldap": _text(entry, "ldap_group_dn"), "oidc": name}.get(source, "")

            async def bring(
                tx: Transaction, name: str = name, source: str = source, subject: str = subject
            ) -> int | None:
                groups = Groups(tx)
                there: Group | None = await groups.of_subject(source, subject) if subject else None
                there = there or await groups.named(name)
                if there is not None:
                    if there.source != source:
                        raise Conflict(
                            f"there is a group of that name from {there.source} here, and it is from {source}"
                        )
                    self.report.count("groups", made=False)
                    return there.id
                self.report.count("groups", made=True)
                if self._dry:
                    return 0
                made = await groups.add(name, source=source, subject=subject)
                await self._note(tx, "user-group", name)
                return made.id

            found = await self._try("group", name, bring)
            if found is not None:
                self._groups[number] = found

    async def _quotas(self) -> dict[int, int]:
        found = {}
        async for entry in self._source.all("/quotas", reference="project"):
            limit = (entry.get("hard") or {}).get("storage", -1)
            found[_number(entry.get("ref") or {}, "id")] = limit if isinstance(limit, int) and limit > 0 else -1
        return found

    async def _leave_all(self, kind: str, path: str, name: str, why: str, of: str = "") -> None:
        try:
            async for entry in self._source.all(path):
                self.report.leave(kind, f"{of}{_shown(entry.get(name, '?'))}", why)
        except Denied as refused:
            self.report.leave(kind, of or "of any name", f"cannot be read: {refused.message}")

    # ---- projects

    async def _project(self, entry: Mapping[str, Any], quotas: Mapping[int, int]) -> None:
        name, number = _text(entry, "name"), _number(entry, "project_id")
        if entry.get("registry_id"):
            self.report.leave("project", name, "it is a proxy for another registry, which comes with a later version")
            return
        members = [one async for one in self._source.all(f"/projects/{number}/members")]
        labels = [one async for one in self._source.all("/labels", scope="p", project_id=number)]
        given = entry.get("metadata") or {}
        metadata = {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}
        public, limit = metadata.get("public") == "true", quotas.get(number, -1)

        async def bring(tx: Transaction) -> bool:
            projects = Projects(tx)
            there = await projects.named(name)
            if there is None and self._dry:
                check_project(name)
                await self._members(tx, None, name, members)
                self.report.made["labels"] = self.report.made.get("labels", 0) + len(labels)
                self.report.count("projects", made=True)
                return True
            if there is not None and there.public != public:
                what = "public" if there.public else "private"
                self.report.tell(f"project {name}: is {what} here, and the other there")
            self.report.count("projects", made=there is None)
            project = there
            if project is None:
                owner = self._users.get(_text(entry, "owner_name")) or None
                project = await projects.add(name, owner, public=public, most_bytes=limit)
                await self._note(tx, "project", name, name)
            elif limit >= 0 and not self._dry:
                quota = await Quotas(tx).of(project.id)
                if quota is not None and quota.most_bytes < 0:
                    await Quotas(tx).limit(project.id, most_bytes=limit, most_repositories=quota.most_repositories)
            await self._metadata_of(tx, project, metadata)
            await self._members(tx, project, name, members)
            for one in labels:
                await self._label(tx, one, project.id, f"{name}: ")
            return True

        if not await self._try("project", name, bring):
            return
        if metadata.get("retention_id"):
            self.report.leave(
                "tag retention", f"of {name}", "retention comes with a later version: nothing is deleted here"
            )
        if (entry.get("cve_allowlist") or {}).get("items"):
            self.report.leave("CVE allowlist", f"of {name}", "scanning comes with a later version")
        for kind, path, key, why in _OF_PROJECT:
            await self._leave_all(kind, f"/projects/{number}{path}", key, why, f"{name}: ")

    async def _metadata_of(self, tx: Transaction, project: Project, values: Mapping[str, str]) -> None:
        there = await Projects(tx).metadata(project.id)
        for key, value in sorted(values.items()):
            if key in _PASSED_OVER:
                continue
            if key not in KEPT | UNENFORCED:
                self.report.leave("setting", f"{key} of {project.name}", "there is none of that name here")
                continue
            if key in UNENFORCED and value == "true":
                self.report.tell(f"project {project.name}: {key} is kept as a setting, but nothing is refused for it")
            if key not in there and not self._dry:
                await Projects(tx).set_metadata(project.id, key, value)

    async def _members(self, tx: Transaction, project: Project | None, name: str, given: list[dict[str, Any]]) -> None:
        for one in given:
            who, role = _text(one, "entity_name"), _number(one, "role_id")
            kind: KindOfMember = "g" if one.get("entity_type") == "g" else "u"
            entity = self._users.get(who) if kind == "u" else self._groups.get(_number(one, "entity_id"))
            what = f"{who} of {name}"
            if entity is None:
                self.report.leave("member", what, "the user or group did not come")
            elif role not in _ROLES:
                self.report.leave("member", what, f"there is no role {role} here")
            elif project is None or not entity:
                self.report.count("members", made=True)
            else:
                there = await Members(tx).of(project.id, kind, entity)
                self.report.count("members", made=there is None)
                if there is not None and there.role != role:
                    self.report.tell(f"member {what}: has another role here than there")
                elif there is None and not self._dry:
                    await Members(tx).add(project.id, kind, entity, role)

    async def _labels(self, project: int | None) -> None:
        async for entry in self._source.all("/labels", scope="g"):
            await self._try(
                "label",
                _text(entry, "name"),
                lambda tx, one=entry: self._label(tx, one, project),  # type: ignore[misc]
            )

    async def _label(self, tx: Transaction, entry: Mapping[str, Any], project: int | None, of: str = "") -> bool:
        name = _text(entry, "name")
        try:
            if not await Labels(tx).has(name, project):
                description, color = _text(entry, "description"), _text(entry, "color")
                check_label(name, description, color)
                if not self._dry:
                    await Labels(tx).add(name, project, description=description, color=color)
                self.report.count("labels", made=True)
            else:
                self.report.count("labels", made=False)
        except Invalid as error:
            self.report.leave("label", f"{of}{_shown(name)}", error.message)
        return True

    # ---- robots

    async def _robot(self, entry: Mapping[str, Any]) -> None:
        login = _text(entry, "name")
        name = login.removeprefix(self._prefix)
        level, days = _text(entry, "level"), FOR_EVER
        ends = _number(entry, "expires_at")
        if ends > 0:
            days = -(-(ends - int(time.time())) // _DAY)
            if days < 1:
                self.report.leave("robot", login, "it has expired")
                return
        grants, wrong = _grants(entry)
        if wrong:
            self.report.leave("permission", f"{', '.join(wrong[:20])} of {login}", "there is none of that name here")
        if not grants:
            self.report.leave("robot", login, "nothing is left of its permissions")
            return
        of = name.partition("+")[0] if "+" in name else grants[0].namespace
        secret = credentials.make(credentials.Prefix.ROBOT)
        kept = False

        async def bring(tx: Transaction) -> bool:
            nonlocal kept
            project = await Projects(tx).named(of) if level == "project" else None
            stored = f"{of}+{name.rpartition('+')[2]}" if level == "project" else name
            if await Robots(tx).named(stored) is not None:
                self.report.count("robots", made=False)
                return True
            if level == "project" and project is None and not self._dry:
                raise Invalid(f"its project {of} did not come")
            self.report.count("robots", made=True)
            if self._dry:
                return True
            if not kept:  # before it is there: a secret that was lost could not be shown again
                self._keep(f"robot${stored}", secret)
                kept = True
            where = (project.id, project.name) if project else None
            about = _text(entry, "description")
            robot, _ = await Robots(tx).add(stored.rpartition("+")[2], where, grants, duration=days, description=about)
            if entry.get("disable"):
                await Robots(tx).change(
                    robot, description=about, disabled=True, duration=days, grants=grants, level=of if where else ""
                )
            await Robots(tx).rotate(robot, credentials.digest(secret))
            await self._note(tx, "robot", robot.login, of if where else "")
            return True

        await self._try("robot", login, bring)

    # ---- each of them

    async def _try(self, kind: str, name: str, bring: Callable[[Transaction], Awaitable[Any]]) -> Any:
        """Do it in a transaction of its own; what cannot be here is told, and counts are of what was done at last."""
        before = (dict(self.report.made), dict(self.report.kept), list(self.report.left), list(self.report.told))

        async def work(tx: Transaction) -> Any:
            report = self.report
            report.made, report.kept = dict(before[0]), dict(before[1])
            report.left, report.told = list(before[2]), list(before[3])
            return await bring(tx)

        try:
            return await (self._metadata.read(work) if self._dry else self._metadata.write(work))
        except (Invalid, Conflict) as error:
            self.report.made, self.report.kept, self.report.left, self.report.told = before
            self.report.leave(kind, _shown(name), error.message)
            return None

    async def _note(self, tx: Transaction, kind: str, name: str, project: str = "") -> None:
        await Audit(tx).add("create", kind, name, by=self._by, project=project, detail="from Harbor")


def _grants(entry: Mapping[str, Any]) -> tuple[list[RobotGrant], list[str]]:
    """What a robot may, and what of it is no permission here."""
    found: list[RobotGrant] = []
    wrong: list[str] = []
    for place in entry.get("permissions") or ():
        system = place.get("kind") == "system"
        namespace = SYSTEM if system else _text(place, "namespace")
        for one in place.get("access") or ():
            pair = (_text(one, "resource"), _text(one, "action"))
            if one.get("effect") not in (None, "", "allow") or unknown([pair], system=system):
                wrong.append(_shown(":".join(pair)))
            else:
                found.append(RobotGrant(namespace, *pair))
    return found, wrong


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _number(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else 0


def _shown(value: object) -> str:
    """What the other side wrote, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)[:300])
