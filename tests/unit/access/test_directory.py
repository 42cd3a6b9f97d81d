"""What is asked of a directory and how its names compare; and directories that answer what they should not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from lading.access.directory import connection as connecting
from lading.access.directory.away import Away
from lading.access.directory.connection import Connection
from lading.access.directory.people import Login, among, escaped, find, groups_like, like, logged_in, normal, under
from lading.access.directory.settings import DirectorySettings, GroupSettings, check_url, forbidden, pinned
from lading.errors import Invalid
from tests.support.directory import AD, BASE, GROUPS, MANY, PEOPLE, SEARCHER, SEARCHERS_WORD, WORD, Slapd
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("alice", "alice"),
        ("*", r"\2a"),
        ("a)(uid=*", r"a\29\28uid=\2a"),
        ("a\\b\0", r"a\5cb\00"),
        ("ü\n", r"\c3\bc\0a"),
    ],
)
def test_values_in_filters(value: str, written: str) -> None:
    assert escaped(value) == written


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=A, OU=B ,DC=c", "cn=a,ou=b,dc=c"),
        (r"cn=a\2Cb,dc=c", r"cn=a\,b,dc=c"),
        (r"cn=\C3\BC,dc=c", "cn=Ü,dc=c"),
        (r"cn=a\\ , dc=c", r"cn=a\\,dc=c"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert normal(one) == normal(other)


def test_names_that_are_not() -> None:
    assert normal(r"cn=a\, dc=c") != normal("cn=a,dc=c")
    assert under("cn=a,ou=groups,dc=c", "OU=groups, DC=c")
    assert not under("cn=a,ou=mygroups,dc=c", "ou=groups,dc=c")
    assert not under(r"cn=a\,ou=groups,dc=c", "ou=groups,dc=c")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1%eth0",
        "0.0.0.0",
        "::",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "224.0.0.1",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
        "::169.254.169.254",
    ],
)
def test_addresses_no_directory_has(address: str) -> None:
    assert forbidden(address)
    assert not forbidden("10.1.2.3")
    assert not forbidden("127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "ldap://",
        "ldapi:///var/run/x",
        "file:///etc/passwd",
        "ldap://a:b@c",
        "ldap://a:99999",
        "ldap://[::1",
        "ldap://a/dc=b",
        "ldap://a b",
    ],
)
def test_urls_of_no_directory(url: str) -> None:
    with pytest.raises(Invalid):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["ldap://169.254.169.254", "ldaps://[::ffff:a9fe:a9fe]:80", "ldap://0", "ldap://no-such-host.invalid"]
)
def test_what_is_connected_to_was_judged(url: str) -> None:
    with pytest.raises(Invalid):
        pinned(DirectorySettings(url=url, base=""))
    (only,) = pinned(DirectorySettings(url="ldap://127.0.0.1", base=""))
    assert only.address == "127.0.0.1"


def settings(slapd: Slapd, **more: object) -> DirectorySettings:
    made = DirectorySettings(
        slapd.url, PEOPLE, user=SEARCHER, password=SEARCHERS_WORD, groups=GroupSettings(base=GROUPS), timeout=20
    )
    return replace(made, **more)  # type: ignore[arg-type]


def login(where: DirectorySettings, name: str, password: str, *wanted: str) -> Login | None:
    with Connection(where) as connection:
        return logged_in(connection, where, name, password, wanted)


def word(name: str) -> str:
    return WORD.format(name=name)


def test_tls(slapd: Slapd) -> None:
    good = settings(slapd, ca=str(slapd.ca), starttls=True), settings(slapd, ca=str(slapd.ca), url=slapd.tls_url)
    assert all(login(each, "alice", word("alice")) for each in good)
    for wrong in (
        settings(slapd, starttls=True),
        settings(slapd, url=slapd.tls_url),
        # the authority is right, and the name is another's
        settings(slapd, url=f"ldaps://ip6-localhost:{slapd.tls_port}", address="127.0.0.1", ca=str(slapd.ca)),
    ):
        with pytest.raises(Away) as told:
            login(wrong, "alice", word("alice"))
        assert "certificate" in told.value.why
    assert login(settings(slapd, url=slapd.tls_url, verify=False), "alice", word("alice"))


def test_passwords(slapd: Slapd) -> None:
    where = settings(slapd)
    found = login(where, "ALICE", word("alice"))
    assert found is not None
    assert (found.person.name, found.person.email) == ("alice", "alice@example.org")
    assert found.person.key.startswith("entryUUID=")
    for name, password in (("alice", "wrong"), ("alice", ""), ("nobody", "x"), ("nopass", ""), ("nopass", "x")):
        assert login(where, name, password) is None
    with pytest.raises(Away) as told:
        login(replace(where, password="wrong-word"), "alice", word("alice"))
    assert "binddn" in told.value.why
    assert "wrong-word" not in repr(where) + told.value.why
    assert SEARCHERS_WORD not in repr(where)


@pytest.mark.parametrize(
    "name", ["*", "a*", "alice)(objectClass=*", "*)(uid=*))(|(uid=*", "alice\0", "(", "\\2a", "\\"]
)
def test_a_name_is_no_part_of_the_filter(slapd: Slapd, name: str) -> None:
    where = settings(slapd, filter="(objectClass=person)")
    with Connection(where) as connection:
        assert find(connection, where, name) is None
        assert among(connection, where, [name, "bob"])[0].name == "bob"
        assert like(connection, where, name, 10) == []
        assert groups_like(connection, where, name, "", 10) == []
        assert groups_like(connection, where, "", f"cn={name},{GROUPS}", 10) == []


def test_a_name_is_the_one_that_was_written(slapd: Slapd) -> None:
    """Directories fold more than case: they find alice for this, who would have two names here."""
    assert login(settings(slapd), "ⓐlice", word("alice")) is None


def test_groups_in_groups(slapd: Slapd) -> None:
    wanted = [f"cn={name},ou=Groups, dc=example,dc=org" for name in ("developers", "leads", "staff", "empty", "admins")]
    where = settings(slapd)
    found = login(where, "alice", word("alice"), *wanted)
    assert found is not None
    assert found.groups == {f"cn={name},{GROUPS}" for name in ("developers", "leads", "staff")}
    flat = replace(where, groups=replace(where.groups, nested="none"))
    assert login(flat, "alice", word("alice"), *wanted) == Login(found.person)
    elsewhere = replace(where, groups=replace(where.groups, base=f"ou=elsewhere,{BASE}"))
    assert login(elsewhere, "alice", word("alice"), *wanted) == Login(found.person)


def test_a_thousand_groups_cost_a_few_searches(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    search = Connection.search

    def counted(self: Connection, *arguments: object, **more: object) -> object:
        asked.append(str(arguments[1]))
        return search(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "search", counted)
    found = login(settings(slapd), "many", word("many"), f"cn=over,{GROUPS}", f"cn=g7,{GROUPS}", f"cn=empty,{GROUPS}")
    assert found is not None
    assert found.groups == {f"cn=over,{GROUPS}", f"cn=g7,{GROUPS}"}
    assert len(asked) <= 3 + MANY // 100 + 1


def test_an_answer_that_is_cut_is_none(slapd: Slapd) -> None:
    """Half of somebody's groups would take the other half away: OpenLDAP shows 500 entries unless it is told otherwise."""
    where = settings(slapd, user=f"cn=limited,{BASE}")
    assert login(where, "alice", word("alice"), f"cn=staff,{GROUPS}") is not None
    with pytest.raises(Away) as told:
        login(where, "many", word("many"), f"cn=over,{GROUPS}")
    assert "size limit" in told.value.why


def test_an_active_directory(slapd: Slapd) -> None:
    groups = GroupSettings(base=f"cn=Users,{AD}", nested="none")
    where = settings(slapd, base=f"cn=Users,{AD}", user=f"cn=searcher,{AD}", uid="sAMAccountName", groups=groups)
    found = login(where, "dora", word("dora"), f"cn=builders,cn=users,{AD}")
    assert found is not None
    assert found.person.name == "Dora"
    assert found.person.key == "objectGUID=ZG9yYS1ndWlk"
    assert found.groups == {f"cn=builders,cn=users,{AD}"}
    assert login(where, "erwin", word("erwin")) is None  # userAccountControl says that the account is disabled
    # a directory that is none of Microsoft's does not know the rule, and finds nobody by it
    chain = replace(where, groups=replace(groups, nested="chain"))
    assert login(chain, "dora", word("dora"), f"cn=other,cn=users,{AD}") == Login(found.person)


def test_the_rule_for_groups_in_groups(slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    search = Connection.search

    def recorded(self: Connection, base: str, condition: str, *more: object, **rest: object) -> object:
        asked.append(condition)
        if not base:
            return [connecting.Entry("", {"supportedcapabilities": (b"1.2.840.113556.1.4.800",)})]
        return search(self, base, condition, *more, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "search", recorded)
    assert login(settings(slapd), "alice", word("alice"), f"cn=staff,{GROUPS}") is not None
    assert asked[2:] == [f"(member:1.2.840.113556.1.4.1941:=uid=alice,{PEOPLE})"]


def test_a_base_that_is_not_there(slapd: Slapd) -> None:
    with pytest.raises(Away) as told:
        login(settings(slapd, base=f"ou=none,{BASE}"), "alice", word("alice"))
    assert "ou=none" in told.value.why


said: list[bytes] = []
"""What servers that are no directory were sent."""


@contextlib.contextmanager
def serving(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that is no directory; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                with client:
                    said.append(client.recv(4096))
                    speak(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"ldap://127.0.0.1:{server.getsockname()[1]}"
        server.close()
        thread.join(30)


def endless(client: socket.socket) -> None:
    client.sendall(b"\x30\x84\x7f\xff\xff\xff")
    while True:
        client.sendall(b"\0" * 65_536)


def refers(client: socket.socket) -> None:
    """A bind's answer that sends the password elsewhere."""
    referral = b"\xa3\x18\x04\x16ldap://127.0.0.1:1/o=x"
    operation = b"\x0a\x01\x0a\x04\x00\x04\x00" + referral
    message = b"\x02\x01\x01\x61" + bytes([len(operation)]) + operation
    client.sendall(b"\x30" + bytes([len(message)]) + message)
    client.recv(4096)


def refuses_tls(client: socket.socket) -> None:
    """An extended response with protocolError, as OpenLDAP without a certificate gives it."""
    operation = b"\x0a\x01\x02\x04\x00\x04\x00"
    number = said[-1][2 : 4 + said[-1][3]]  # of the message that this answers
    message = number + b"\x78" + bytes([len(operation)]) + operation
    client.sendall(b"\x30" + bytes([len(message)]) + message)
    said.append(client.recv(4096))


def test_a_directory_that_refuses_starttls_is_sent_no_password() -> None:
    with serving(refuses_tls) as url:
        where = DirectorySettings(url, BASE, starttls=True, user=SEARCHER, password=SEARCHERS_WORD, timeout=5)
        with pytest.raises(Away) as told, Connection(where):
            raise AssertionError("nothing is asked in the clear")
    assert "refuses StartTLS" in told.value.why
    assert not told.value.silent
    assert SEARCHERS_WORD.encode() not in b"".join(said)


def test_a_directory_that_is_away_is_silent() -> None:
    with pytest.raises(Away) as told, Connection(DirectorySettings(f"ldap://127.0.0.1:{free_port()}", BASE, timeout=2)):
        raise AssertionError("there is nobody")
    assert told.value.silent


@pytest.mark.parametrize(
    "speak",
    [
        lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.2 secret banner\r\n"),
        lambda client: client.sendall(b"\x30\x03\x02\x01\x01"),
        lambda client: client.sendall(b"\x30\x80\x00\x00"),
        lambda client: None,
        endless,
        refers,
    ],
    ids=["another protocol", "cut short", "indefinite", "silent", "endless", "referral"],
)
def test_what_is_no_directory(speak: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from lading.access.directory.threads import _ask

    monkeypatch.setattr(connecting, "MOST_BYTES", 1024 * 1024)
    with serving(speak) as url:
        where = DirectorySettings(url, BASE, user=SEARCHER, password=SEARCHERS_WORD, timeout=2)
        with pytest.raises(Away) as told:
            _ask(partial(find, name="alice"), where)
    assert "banner" not in told.value.why
    assert SEARCHERS_WORD not in told.value.why
