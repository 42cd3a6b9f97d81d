"""Logging in by a directory: docker's way in, groups as members, and what happens when it is away or somebody is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lading.access import arrivals
from lading.access.directory.settings import DirectorySettings, GroupSettings
from lading.access.groups import Groups
from lading.access.members import Members
from lading.access.permissions import DEVELOPER
from lading.access.users import User, Users
from lading.control.directory import Sync
from lading.control.projects import Projects
from lading.errors import StartError
from lading.jobs.kinds import Claim, Task
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Transaction
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.directory import GROUPS, PEOPLE, SEARCHER, SEARCHERS_WORD, WORD, Slapd
from tests.support.http import Client
from tests.support.ports import free_port
from tests.support.postgres import Postgres

OWN = "repository:team/app:pull,push"


@pytest.fixture(scope="module")
def server(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    root = tmp_path_factory.mktemp("ldap")
    (root / "word").write_text(f"{SEARCHERS_WORD}\n")
    section = slapd.settings(
        starttls=True, ca=str(slapd.ca), bindpasswordfile=str(root / "word"), groups={"admindn": f"CN=admins, {GROUPS}"}
    )
    del section["bindpassword"]
    with WithAccounts(root, {"ldap": section, "lockout": {"attempts": 0}}) as made:
        made.project("team")
        made.work(_members)
        yield made


async def _members(tx: Transaction) -> None:
    team = await Projects(tx).named("team")
    assert team is not None
    for name in ("staff", "over"):
        group = await Groups(tx).add(name, source="ldap", subject=f"cn={name},{GROUPS}")
        await Members(tx).add(team.id, "g", group.id, DEVELOPER)


def word(name: str) -> str:
    return WORD.format(name=name)


def user(server: WithAccounts, name: str) -> User | None:
    return server.work(lambda tx: Users(tx).named(name))


def sync(server: WithAccounts, slapd: Slapd, base: str = PEOPLE) -> dict[str, int]:
    """What the job does every quarter of an hour."""
    groups = GroupSettings(base=GROUPS, admin=f"cn=admins,{GROUPS}")
    settings = DirectorySettings(slapd.url, base, user=SEARCHER, password=SEARCHERS_WORD, timeout=30, groups=groups)

    async def do() -> dict[str, int]:
        metadata = open_index(f"sqlite:///{server.storage / 'lading' / 'index.sqlite'}")
        try:
            return await Sync(metadata, settings).work(Task(Claim(1, "sync-directory", None, 1, "test")))
        finally:
            await metadata.close()

    return asyncio.run(do())


def test_a_login_makes_a_user_with_the_groups_of_the_directory(server: WithAccounts) -> None:
    assert user(server, "alice") is None
    answer = server.ask("alice", word("alice"), OWN)
    assert answer.json()["scope"] == OWN
    made = user(server, "alice")
    assert made is not None
    assert (made.source, made.email, made.full_name, made.password) == (
        "ldap",
        "alice@example.org",
        "Alice Example",
        "",
    )
    # written otherwise it is the same person, and bob is in no group
    assert server.ask("ALICE", word("alice"), OWN).json()["scope"] == OWN
    assert user(server, "ALICE") is None
    assert server.ask("bob", word("bob"), OWN).json()["scope"] == ""
    assert server.ask("many", word("many"), OWN).json()["scope"] == OWN


def test_the_group_of_administrators(server: WithAccounts) -> None:
    assert server.ask("carol", word("carol"), "repository:anything/x:push").json()["scope"].endswith(":push")
    found = user(server, "carol")
    assert found is not None
    assert found.admin


def test_all_refusals_sound_alike(server: WithAccounts) -> None:
    server.ask("mallory", word("mallory"))
    server.disable("mallory")
    tries = [
        ("alice", "wrong"),
        ("alice", ""),
        ("nobody-here", "wrong"),
        ("nopass", ""),
        ("mallory", word("mallory")),
        ("*", word("alice")),
        ("alice)(uid=*", word("alice")),
        ("a" * 300, "x"),
        (ADMIN, word("admin")),  # the directory has an admin too, who is somebody else
        (ADMIN, "wrong"),
    ]
    answers = {(answer.status_code, answer.text) for answer in (server.ask(*each) for each in tries)}
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert server.ask(ADMIN, PASSWORD).status_code == 200


def test_no_password_in_the_log(server: WithAccounts) -> None:
    server.ask("alice", word("alice"))
    server.ask("alice", "a-wrong-word")
    server.access_log()
    for secret in (word("alice"), "a-wrong-word", SEARCHERS_WORD):
        assert secret not in server.output


def test_whoever_is_gone_loses_what_goes_on(server: WithAccounts, slapd: Slapd) -> None:
    slapd.add("leaver")
    slapd.change(f"dn: cn=staff,{GROUPS}\nchangetype: modify\nadd: member\nmember: uid=leaver,{PEOPLE}\n")
    assert server.ask("leaver", word("leaver"), OWN).json()["scope"] == OWN
    personal = server.personal_token("leaver")
    refresh = server.ask("leaver", word("leaver"), offline_token="true").json()["refresh_token"]
    with Client(server) as client:

        def renewed() -> int:
            form = {"grant_type": "refresh_token", "refresh_token": refresh}
            return client.post("/service/token", data=form).status_code

        assert sync(server, slapd)["gone"] == 0
        assert renewed() == 200
        slapd.change(f"dn: cn=staff,{GROUPS}\nchangetype: modify\ndelete: member\nmember: uid=leaver,{PEOPLE}\n")
        sync(server, slapd)
        assert server.ask("leaver", personal, OWN).json()["scope"] == ""
        slapd.remove("leaver")
        assert sync(server, slapd)["gone"] == 1
        assert renewed() == 401
    assert server.ask("leaver", personal).status_code == 401
    assert server.ask("leaver", word("leaver")).status_code == 401  # remembered, and refused all the same
    # somebody else of the same name gets nothing of theirs
    slapd.add("leaver")
    assert server.ask("leaver", word("leaver")).status_code == 401
    assert sync(server, slapd)["gone"] == 0
    assert server.ask("leaver", personal).status_code == 401
    slapd.remove("leaver")


def test_somebody_who_is_expected_is_theirs_who_comes_under_the_name(server: WithAccounts, slapd: Slapd) -> None:
    """And nobody's before, whom no comparison takes for gone; what was given to them is there when they come."""

    async def expect(tx: Transaction) -> int:
        made = await arrivals.expect(tx, "expected", email="expected@example.org")
        project = await Projects(tx).add("awaits", None, public=False)
        await Members(tx).add(project.id, "u", made.id, DEVELOPER)
        return made.id

    number = server.work(expect)
    assert server.ask("expected", word("expected")).status_code == 401
    sync(server, slapd)
    slapd.add("expected")
    wanted = "repository:awaits/app:pull,push"
    assert server.ask("expected", word("expected"), wanted).json()["scope"] == wanted
    came = user(server, "expected")
    assert came is not None
    assert (came.id, came.disabled) == (number, False)
    slapd.remove("expected")
    assert sync(server, slapd)["gone"] == 1, "from now on as everybody else"


def test_whoever_comes_back_is_let_in(server: WithAccounts, slapd: Slapd) -> None:
    server.ask("bob", word("bob"))
    personal = server.personal_token("bob")
    # another name does not make another person
    slapd.change(f"dn: uid=bob,{PEOPLE}\nchangetype: modrdn\nnewrdn: uid=robert\ndeleteoldrdn: 1\n")
    sync(server, slapd)
    assert server.ask("bob", personal).status_code == 200
    move = "changetype: modrdn\nnewrdn: uid=bob\ndeleteoldrdn: 1\nnewsuperior: "
    slapd.change(f"dn: uid=robert,{PEOPLE}\n{move}{GROUPS}\n")
    sync(server, slapd)
    assert server.ask("bob", personal).status_code == 401
    slapd.change(f"dn: uid=bob,{GROUPS}\n{move}{PEOPLE}\n")
    sync(server, slapd)
    assert server.ask("bob", personal).status_code == 200
    # what an administrator said is not the directory's to take back
    server.disable("bob")
    sync(server, slapd)
    assert server.ask("bob", word("bob")).status_code == 401


def test_two_first_logins_at_once_are_both_let_in(tmp_path: Path, slapd: Slapd, postgres: Postgres) -> None:
    """Of one person, in two processes, on the index where writers go beside each other."""
    accounts = {"ldap": slapd.settings(), "lockout": {"attempts": 0, "addressattempts": 0}}
    names = [f"twice{number}" for number in range(4)]
    for name in names:
        slapd.add(name)
    index = {"database": {"url": postgres.empty()}}
    with WithAccounts(tmp_path, accounts, configuration=index, workers=2) as server:
        for name in names:
            with ThreadPoolExecutor(6) as together:
                answers = list(together.map(lambda _: server.ask(name, word(name)).status_code, range(6)))  # noqa: B023
            assert answers == [200] * 6
    for name in names:
        slapd.remove(name)


def test_a_directory_that_has_nobody_locks_nobody_out(server: WithAccounts, slapd: Slapd) -> None:
    for name in ("alice", "carol", "many"):
        server.ask(name, word(name))
    for name in ("extra1", "extra2", "extra3"):
        slapd.add(name)
        server.ask(name, word(name))
    with pytest.raises(StartError, match="nobody is locked out"):
        sync(server, slapd, base=GROUPS)
    assert server.ask("alice", word("alice")).status_code == 200


def test_a_directory_that_is_away(tmp_path: Path, slapd: Slapd) -> None:
    section = slapd.settings(url=f"ldap://127.0.0.1:{free_port()}", timeout="1s")
    with WithAccounts(tmp_path, {"ldap": section, "lockout": {"attempts": 3}}) as server:
        assert server.ask(ADMIN, PASSWORD).status_code == 200
        server.user("local")
        answer = server.ask("alice", word("alice"))
        assert answer.status_code == 503
        assert "directory" in answer.json()["errors"][0]["message"]
        assert answer.headers["retry-after"]
        with Client(server, auth=("alice", word("alice"))) as client:
            assert client.get("/v2/").status_code == 503
            assert client.get("/api/v2.0/users/current").status_code == 503
        with Client(server, auth=("bob", word("bob"))) as client:  # and nobody else is kept waiting for it
            refused = client.get("/v2/")
            assert refused.status_code == 503
            assert 0 < int(refused.headers["retry-after"]) <= 30
        # guessing at passwords that are kept here is counted meanwhile, and told apart from nothing else
        guesses = [server.ask("local", f"guess{number}").status_code for number in range(4)]
        assert guesses == [503, 503, 503, 429]
        assert "nobody answers there" in server.output
        assert word("alice") not in server.output


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"url": "http://x"}, "accounts.ldap.url"),
        ({"url": ""}, "accounts.ldap.url"),
        ({"basedn": ""}, "accounts.ldap.basedn"),
        ({"bindpasswordfile": "/x"}, "accounts.ldap.bindpasswordfile"),
        ({"bindpassword": ""}, "accounts.ldap.bindpassword"),
        ({"filter": "(uid=*"}, "accounts.ldap.filter"),
        ({"uid": "uid=*)(x"}, "accounts.ldap.uid"),
        ({"url": "ldaps://x", "starttls": True}, "accounts.ldap.starttls"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, slapd: Slapd, changed: dict[str, object], told: str) -> None:
    server = WithAccounts(tmp_path, {"ldap": slapd.settings() | changed})
    done = server.run("check-config", server.configuration, check=False)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert SEARCHERS_WORD not in done.stdout + done.stderr
