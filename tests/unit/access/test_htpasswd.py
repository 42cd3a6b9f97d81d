"""Basic authentication: who gets in, what is remembered, and what a flood can do."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.access import htpasswd, scopes
from lading.access.accounts import AccountsFile
from lading.access.htpasswd import MAX_WAITING, Credentials, Htpasswd, parse_basic
from lading.access.principal import Kind, Principal
from lading.errors import ConfigurationError, Unauthenticated, Unavailable
from tests.support.access import write_htpasswd
from tests.support.logs import capture_logs
from tests.support.packages import program
from tests.unit.access.makers import Clock

pytestmark = pytest.mark.anyio

WANTED = (scopes.push("team/app"),)
ALICE = Principal("alice", Kind.USER)


def basic(user: str, password: str | bytes) -> bytes:
    raw = password if isinstance(password, bytes) else password.encode()
    return b"Basic " + base64.b64encode(user.encode() + b":" + raw)


class Door:
    """A guard, its file and its clock."""

    def __init__(self, path: Path) -> None:
        self.path = write_htpasswd(path, {"alice": "secret", "bob": "other"})
        self.clock = Clock(0)
        self.guard = Htpasswd(AccountsFile(path, clock=self.clock), "Registry", clock=self.clock)
        self.checked: list[bytes] = []


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door(tmp_path / "htpasswd")
    real = htpasswd._fits

    def counted(password: bytes, stored: bytes) -> bool:
        made.checked.append(stored)
        return real(password, stored)

    monkeypatch.setattr(htpasswd, "_fits", counted)
    yield made
    made.guard.close()


async def refusal(door: Door, authorization: bytes | None) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await door.guard.admit(authorization, WANTED)
    assert caught.value.challenge == 'Basic realm="Registry"'
    assert caught.value.detail == [
        {"Type": "repository", "Class": "", "Name": "team/app", "Action": action} for action in ("pull", "push")
    ]
    return caught.value


async def test_the_right_password_once_checked_is_known(door: Door) -> None:
    assert door.guard.admit_now(basic("alice", "secret"), WANTED) is None
    assert await door.guard.admit(basic("alice", "secret"), WANTED) == ALICE
    assert door.guard.admit_now(basic("alice", "secret"), WANTED) == ALICE
    assert await door.guard.admit(basic("alice", "secret"), ()) == ALICE
    assert len(door.checked) == 1


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("alice", "wrong"),
        ("alice", "other"),
        ("bob", "secret"),
        ("carol", "secret"),
        ("Alice", "secret"),
        ("alice", ""),
    ],
)
async def test_wrong_ones_cost_bcrypt_whoever_asks(door: Door, user: str, password: str) -> None:
    for _ in range(2):
        assert door.guard.admit_now(basic(user, password), WANTED) is None
        assert (await refusal(door, basic(user, password))).message == "wrong user name or password"
    assert len(door.checked) == 2
    assert {stored[4:6] for stored in door.checked} == {b"04"}


async def test_a_success_does_not_open_the_door_for_another_password(door: Door) -> None:
    await door.guard.admit(basic("alice", "secret"), WANTED)
    assert door.guard.admit_now(basic("alice", "secret2"), WANTED) is None
    assert door.guard.admit_now(basic("bob", "secret"), WANTED) is None


async def test_a_success_is_forgotten_after_a_while(door: Door) -> None:
    await door.guard.admit(basic("alice", "secret"), WANTED)
    door.clock.now = htpasswd.REMEMBERED_FOR - 1
    assert door.guard.admit_now(basic("alice", "secret"), WANTED) == ALICE
    door.clock.now = htpasswd.REMEMBERED_FOR
    assert door.guard.admit_now(basic("alice", "secret"), WANTED) is None


async def test_a_change_of_password_takes_effect_at_the_next_look(door: Door) -> None:
    await door.guard.admit(basic("alice", "secret"), WANTED)
    write_htpasswd(door.path, {"alice": "changed"})
    door.clock.now = 1
    await refusal(door, basic("alice", "secret"))
    assert await door.guard.admit(basic("alice", "changed"), WANTED) == ALICE


async def test_a_removed_user_is_out_at_the_next_look(door: Door) -> None:
    await door.guard.admit(basic("alice", "secret"), WANTED)
    write_htpasswd(door.path, {"bob": "other"})
    door.clock.now = 1
    assert door.guard.admit_now(basic("alice", "secret"), WANTED) is None
    await refusal(door, basic("alice", "secret"))


@pytest.mark.parametrize("password", ["x" * 72, "x" * 73, "x" * 200, "ä" * 60, "p:a:s:s", "with space", "💡"])
async def test_passwords_as_the_real_htpasswd_hashes_them(tmp_path: Path, password: str) -> None:
    path = tmp_path / "htpasswd"
    command = [program("htpasswd"), "-BbC", "4", "-c", str(path), "alice", password]
    await anyio.run_process(command)
    guard = Htpasswd.open(path, "Registry")
    assert await guard.admit(basic("alice", password), ()) == ALICE
    with pytest.raises(Unauthenticated):
        await guard.admit(basic("alice", "y" + password), ())
    guard.close()


async def test_many_who_ask_the_same_at_once_are_checked_once(door: Door) -> None:
    found = await asyncio.gather(*(door.guard.admit(basic("alice", "secret"), WANTED) for _ in range(20)))
    assert found == [ALICE] * 20
    assert len(door.checked) == 1


async def test_a_flood_is_bounded_and_passes(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    held, running, most = threading.Event(), [], []

    def slow(password: bytes, stored: bytes) -> bool:
        running.append(password)
        most.append(len(running))
        held.wait(10)
        running.remove(password)
        return False

    monkeypatch.setattr(htpasswd, "_fits", slow)
    flood = [
        asyncio.ensure_future(door.guard.admit(basic("alice", f"guess {n}"), WANTED)) for n in range(MAX_WAITING + 5)
    ]
    await asyncio.sleep(0.05)
    early = [each.exception() for each in flood if each.done()]
    assert [type(each) for each in early] == [Unavailable] * 5
    held.set()
    late = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(each, Unauthenticated) for each in late) == MAX_WAITING
    assert max(most) <= htpasswd.THREADS
    monkeypatch.undo()
    assert await door.guard.admit(basic("alice", "secret"), WANTED) == ALICE


async def test_who_is_known_passes_through_a_flood_without_waiting(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    await door.guard.admit(basic("alice", "secret"), WANTED)
    held = threading.Event()
    monkeypatch.setattr(htpasswd, "_fits", lambda password, stored: held.wait(10) and False)
    flood = [asyncio.ensure_future(door.guard.admit(basic("bob", f"{n}"), WANTED)) for n in range(MAX_WAITING)]
    await asyncio.sleep(0)
    assert door.guard.admit_now(basic("alice", "secret"), WANTED) == ALICE
    held.set()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_client_that_goes_away_does_not_take_others_with_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    monkeypatch.setattr(htpasswd, "_fits", lambda password, stored: held.wait(10))
    first, second = (asyncio.ensure_future(door.guard.admit(basic("alice", "secret"), WANTED)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    held.set()
    assert await second == ALICE
    assert first.cancelled()
    assert door.guard._checking == {}


MALFORMED = [
    b"",
    b"Basic",
    b"Basic ",
    b"Basic !!!!",
    b"Basic YWxpY2U6c2Vjcm V0",
    b"Basic YWxpY2U",
    b"Basic " + base64.b64encode(b"no colon"),
    b"Basic " + base64.b64encode(b":no user"),
    b"Basic " + base64.b64encode(b"\xff\xfe:password"),
    b"Basic " + base64.b64encode(b"alice:sec\0ret"),
    b"Basic " + base64.b64encode(b"alice:" + b"x" * 9000),
    b"Bearer YWxpY2U6c2VjcmV0",
    b"YWxpY2U6c2VjcmV0",
    b"\xff\x00",
]


@pytest.mark.parametrize("header", MALFORMED)
async def test_a_malformed_header_is_refused_without_bcrypt(door: Door, header: bytes) -> None:
    assert parse_basic(header) is None
    with pytest.raises(Unauthenticated):
        door.guard.admit_now(header, WANTED)
    await refusal(door, header)
    assert door.checked == []


async def test_no_header(door: Door) -> None:
    with pytest.raises(Unauthenticated, match="authentication required"):
        door.guard.admit_now(None, WANTED)
    await refusal(door, None)


@given(st.text(min_size=1).filter(lambda text: ":" not in text), st.binary(max_size=40))
def test_what_a_header_holds(user: str, password: bytes) -> None:
    for scheme in (b"Basic ", b"basic ", b"BASIC  "):
        header = scheme + basic(user, password)[6:]
        assert parse_basic(header) == (None if b"\0" in password else Credentials(user, password))


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    for header in (raw, b"Basic " + raw, b"Basic " + base64.b64encode(raw)):
        found = parse_basic(header)
        assert found is None or found.user


async def test_no_secret_and_no_unknown_name_is_logged(door: Door) -> None:
    """Somebody who types the password where the user goes must not find it in the log."""
    with capture_logs() as logs:
        await refusal(door, basic("hunter2", "alice"))
        await refusal(door, basic("alice", "hunter3"))
        await door.guard.admit(basic("alice", "secret"), WANTED)
    assert [entry.user for entry in logs] == [None, "alice"]
    assert not any(word in repr(logs) for word in ("hunter", "secret", "$2"))


def test_settings_that_are_missing() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Htpasswd.open("", "")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["auth.htpasswd.realm", "auth.htpasswd.path"]
