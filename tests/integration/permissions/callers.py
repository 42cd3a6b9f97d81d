"""Every kind of caller: somebody in each role, and each way to say who one is, on one registry."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from lading.access.groups import Groups
from lading.access.members import Members
from lading.access.permissions import DEVELOPER, GUEST
from lading.control.projects import Projects
from lading.stores.metadata.transaction import Transaction
from tests.integration.permissions.harbor import COLUMNS, ROLES, Held
from tests.support import images
from tests.support.access import Certificates
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.clientcertificates import ClientAuthority, shown
from tests.support.directory import GROUPS, WORD, Slapd
from tests.support.http import Client
from tests.support.issuer import Issuer

API = "/api/v2.0"
PRIVATE, PUBLIC, ABSENT = "team", "open", "nowhere"
"""A project whose members the callers are, a public one in which they are nobody, and one that is not there."""
_AUDIENCE = "matrix"
_NOTHING: Held = {}
_CSRF = "x-harbor-csrf-token"


@dataclass(frozen=True)
class Caller:
    """A column.

    In letters of Harbor's table: ``wire`` is what they hold in the private project by the distribution specification,
    ``api`` by Harbor's API, ``within`` in its repository ``app`` alone by both, and ``everywhere`` in public projects.
    ``known``: they have shown who they are; ``named``: by something that counts for tokens, too.
    """

    title: str
    client: Client
    wire: Held = field(default_factory=dict)
    api: Held = field(default_factory=dict)
    within: Held = field(default_factory=dict)
    everywhere: Held = field(default_factory=lambda: COLUMNS["public"])
    known: bool = True
    named: bool = True
    reads_only: bool = False
    admin: bool = False


class World:
    """``callers`` and what stands in the two projects for them to ask for; ``admin`` makes more of it."""

    def __init__(
        self, root: Path, stack: ExitStack, slapd: Slapd, issuer: Issuer, own: Certificates, debug: str
    ) -> None:
        self._stack, self._issuer = stack, issuer
        self._clients = ClientAuthority(root / "clients")
        settings = _settings(slapd, issuer)
        configuration = {
            "http": {
                "debug": {"addr": debug, "prometheus": {"enabled": True}},
                "tls": {
                    "certificate": str(own.certificate),
                    "key": str(own.key),
                    "clientcas": [str(self._clients.ca)],
                    "clientauth": "verify-client-cert-if-given",
                },
            }
        }
        made = WithAccounts(root / "server", settings, configuration=configuration, ca=own.ca)
        self.server = stack.enter_context(made)
        self.bare = self.client()
        self.admin = self.client(ADMIN, PASSWORD)
        self._people()
        self.callers = self._callers()

    def client(self, name: str = "", secret: str = "", **options: Any) -> Client:
        """One that says who it is by Basic authentication, or not at all."""
        options |= {"auth": (name, secret)} if name else {}
        return self._stack.enter_context(Client(self.server, **options))

    def _people(self) -> None:
        server = self.server
        server.user(*map(str.lower, ROLES), "stranger", "disabled", "pathed")
        server.project(PRIVATE)
        server.project(PUBLIC, public=True)
        for role in ROLES:
            server.member(PRIVATE, role.lower(), role)
        server.member(PRIVATE, "disabled", "projectAdmin")
        server.member(PRIVATE, "pathed", "developer", f"{PRIVATE}/app")
        server.disable("disabled")
        for project in (PRIVATE, PUBLIC):
            self.admin.push(f"{project}/app", images.image("matrix"), "1")

    def _callers(self) -> list[Caller]:
        limited = self.server.personal_token("projectadmin", f"repository:{PRIVATE}/*:pull")
        whole = self.server.personal_token("maintainer")
        return [
            Caller("nobody", self.client(), known=False, named=False),
            Caller("wrong password", self.client("guest", "wrong"), everywhere=_NOTHING, known=False),
            Caller("disabled", self.client("disabled", PASSWORD), everywhere=_NOTHING, known=False),
            Caller("stranger", self.client("stranger", PASSWORD)),
            *(self._role(role, role, self.client(role.lower(), PASSWORD)) for role in reversed(ROLES)),
            Caller(
                "developer of team/app",
                self.client("pathed", PASSWORD),
                api={"repository": "L"},  # a list, cut to that one
                within=COLUMNS["developer"],
            ),
            self._role("maintainer by a personal token", "maintainer", self.client("maintainer", whole)),
            Caller(
                "projectAdmin by a personal token to pull",
                self.client("projectadmin", limited),
                wire={"repository": "<"},
                everywhere=_NOTHING,
            ),
            self._robot("robot to pull", PRIVATE, {"repository": "<"}, "repository:pull"),
            self._robot("robot to push", PRIVATE, {"repository": "<>"}, "repository:pull", "repository:push"),
            self._robot("robot to delete", PRIVATE, {"artifact": "D"}, "artifact:delete"),
            self._robot("robot to pull anywhere", "*", {"repository": "<"}, "repository:pull"),
            self._job(),
            self._session("projectadmin"),
            self._session("projectadmin", token=False),
            self._certified("developer"),
            self._of_the_directory(),
            self._of_the_provider(),
            Caller("administrator", self.admin, admin=True),
        ]

    def _role(self, title: str, role: str, client: Client) -> Caller:
        return Caller(title, client, COLUMNS[role], COLUMNS[role])

    def _robot(self, title: str, project: str, held: Held, *permissions: str) -> Caller:
        name = title.removeprefix("robot ").replace(" ", "-")
        secret = self.server.robot(name, project, *permissions)
        login = f"robot${name}" if project == "*" else f"robot${project}+{name}"
        return Caller(title, self.client(login, secret), held, held)

    def _job(self) -> Caller:
        """Workload identity: a job of a CI system, with the token it has there for a password."""
        access = [{"resource": "repository", "action": action} for action in ("pull", "push")]
        place = {"kind": "project", "namespace": PRIVATE, "access": access}
        robot = {"name": "job", "level": "project", "duration": -1, "permissions": [place]}
        rule = {"issuer": self._issuer.url, "audience": _AUDIENCE, "claims": {"repository": ["example/*"]}}
        made = self.admin.post(f"{API}/robots", json=robot).json()
        trusted = self.admin.post(f"{API}/robots/{made['id']}/trusts", json=rule)
        assert trusted.status_code == 201, trusted.text
        token = self._issuer.token({"sub": "job", "aud": _AUDIENCE, "repository": "example/app"}, lifetime=3600)
        held = {"repository": "<>"}
        return Caller("job of a CI system (its rule gives push)", self.client("oidc", token), held, held)

    def _session(self, name: str, *, token: bool = True) -> Caller:
        client = self.client()
        answer = client.post("/c/login", data={"principal": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        if token:
            client.headers[_CSRF] = answer.headers[_CSRF]
        title = f"projectAdmin by a session{'' if token else ', without its CSRF token'}"
        return Caller(title, client, api=COLUMNS["projectAdmin"], named=False, reads_only=not token)

    def _certified(self, name: str) -> Caller:
        context = shown(self.server, self._clients.issue(emails=[f"{name}@example.com"]))
        return self._role(f"{name} by a client certificate", name, self.client(verify=context))

    def _of_the_directory(self) -> Caller:
        async def work(tx: Transaction) -> None:
            team = await Projects(tx).named(PRIVATE)
            assert team is not None
            group = await Groups(tx).add("developers", source="ldap", subject=f"cn=developers,{GROUPS}")
            await Members(tx).add(team.id, "g", group.id, GUEST)

        self.server.work(work)
        return self._role("guest by a group of LDAP's", "guest", self.client("alice", WORD.format(name="alice")))

    def _of_the_provider(self) -> Caller:
        """Logged in once by a browser, and by the CLI secret since."""
        browser = self.client()
        begun = browser.get("/c/oidc/login", params={"redirect_url": "/"})
        back = httpx2.get(begun.headers["location"], trust_env=False).headers["location"]
        assert browser.get(back).status_code == 302
        told = browser.get(f"{API}/users/current").json()

        async def work(tx: Transaction) -> None:
            team = await Projects(tx).named(PRIVATE)
            assert team is not None
            await Members(tx).add(team.id, "u", told["user_id"], DEVELOPER)

        self.server.work(work)
        secret = told["oidc_user_meta"]["secret"]
        return self._role("developer by OpenID Connect's CLI secret", "developer", self.client("ada", secret))


def _settings(slapd: Slapd, issuer: Issuer) -> Mapping[str, Any]:
    return {
        "lockout": {"attempts": 0},
        "certificates": {"rules": [{"email": "*@example.com", "user": "*"}]},
        "ldap": slapd.settings(),
        **issuer.configuration(autoonboard=True),
    }
