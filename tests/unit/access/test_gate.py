"""The gate: tokens of our own against everything somebody could try with them, and what is revoked."""

from __future__ import annotations

import base64
import hashlib
import hmac as hmacs
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lading.access import scopes
from lading.access.principal import ANONYMOUS
from lading.access.revocations import Revocations, of_project
from lading.access.robots import RobotGrant, Robots
from lading.access.sealing import Seal
from lading.access.signing import LEAD, Keyring, SigningKeys
from lading.access.users import Users
from lading.control.accounts import Accounts, Settings, set_up
from lading.control.projects import Projects
from lading.errors import TooMany, Unauthenticated
from lading.jobs.outbox import Outbox
from lading.stores.metadata import clock
from lading.stores.metadata.transaction import Transaction
from tests.unit.access.house import House

pytestmark = pytest.mark.anyio

PASSWORD = "Secret-word-1"
SEAL = Seal(b"a key for these tests, long enough")
PULL = (scopes.pull("team/app"),)
PUSH = (scopes.push("team/app"),)


class Place:
    """A house with accounts on."""

    def __init__(self, house: House, accounts: Accounts) -> None:
        self.house = house
        self.accounts = accounts
        self.gate = accounts.gate

    async def token(self, name: str, *wanted: str) -> bytes:
        issued = await self.accounts.tokens.issue(self.house.user(name), [scopes.parse(text) for text in wanted])
        return b"Bearer " + issued.token.encode()

    async def claims(self, name: str) -> dict[str, Any]:
        token = await self.token(name, "repository:team/app:pull,push")
        return dict(jwt.decode(token[7:], options={"verify_signature": False}))

    async def refused(self, authorization: bytes | None, wanted: Any = PULL) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await self.gate.admit(authorization, wanted, "https://registry.test", "10.0.0.1")
        assert caught.value.challenge.startswith('Bearer realm="https://registry.test/service/token",service="lading"')
        return caught.value.message


@pytest.fixture
async def place(index_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    # PostgreSQL's time is this machine's here, so that tests can move it
    monkeypatch.setattr(clock.DatabaseClock, "measured", lambda *_: None)
    house = await House(index_url).build()
    settings = Settings(password=PASSWORD)
    await set_up(house.metadata, SEAL, settings)
    accounts = Accounts(house.metadata, Outbox(house.metadata, listening=False), SEAL, settings)
    await accounts.gate.look()
    stored = await accounts.checker.hashed(PASSWORD)

    async def give(tx: Transaction) -> None:
        for name in ("dev", "stranger"):
            user = await Users(tx).named(name)
            assert user is not None
            await Users(tx).set_password(user, stored)

    await house.write(give)
    await house.write(lambda tx: Revocations(tx).forget(2**62))
    yield Place(house, accounts)
    await accounts.close()
    await house.metadata.close()


def basic(name: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode())


async def test_a_token_is_judged_without_waiting(place: Place) -> None:
    token = await place.token("dev", "repository:team/app:pull,push")
    principal = place.gate.admit_now(token, PUSH)
    assert principal is not None
    assert (principal.name, principal.subject) == ("dev", f"u{place.house.ids['dev']}")
    assert place.gate.admit_now(token, ()) == principal
    assert await place.refused(token, (scopes.delete("team/app"),)) == "the token does not allow this"
    assert await place.refused(token, (scopes.pull("team/other"),)) == "the token does not allow this"
    assert place.gate.admit_now(None, PULL) is None


def _unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> bytes:
    parts = [
        base64.urlsafe_b64encode(raw).rstrip(b"=")
        for raw in (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    ]
    return b"Bearer " + b".".join(parts)


async def test_forged_tokens(place: Place) -> None:
    claims = await place.claims("root")
    (key,) = await place.house.read(lambda tx: SigningKeys(tx, SEAL).all())
    kid, public = key.kid, key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hmac = jwt.api_jws.PyJWS().encode(json.dumps(claims).encode(), b"x" * 32, "HS256", headers={"kid": kid})
    head, body, _ = hmac.encode().split(b".")
    with_public_key = base64.urlsafe_b64encode(hmacs.digest(pem, head + b"." + body, hashlib.sha256)).rstrip(b"=")
    other, strong = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    embedded = jwt.algorithms.ECAlgorithm.to_jwk(other.public_key(), as_dict=True)
    forged = {
        "none": _unsigned({"alg": "none", "kid": kid}, claims),
        "None": _unsigned({"alg": "None", "kid": kid}, claims, b"x"),
        "no algorithm": _unsigned({"kid": kid}, claims, b"x"),
        "hmac": b"Bearer " + hmac.encode(),
        "hmac with the public key": b"Bearer " + head + b"." + body + b"." + with_public_key,
        "another key under our kid": b"Bearer " + jwt.encode(claims, other, "ES256", headers={"kid": kid}).encode(),
        "another key by its own kid": b"Bearer " + jwt.encode(claims, other, "ES256", headers={"kid": "x"}).encode(),
        "a key it brings along": b"Bearer " + jwt.encode(claims, other, "ES256", headers={"jwk": embedded}).encode(),
        "another algorithm": b"Bearer " + jwt.encode(claims, strong, "RS256", headers={"kid": kid}).encode(),
        "no kid": b"Bearer " + jwt.encode(claims, other, "ES256").encode(),
    }
    for what, token in forged.items():
        assert await place.refused(token) == "the token is not valid here", what
    good = (await place.token("root", "repository:team/app:pull"))[7:]
    for spoiled in (good[:-4] + b"AAAA", good.replace(b".", b"..", 1), good + b".x", good.rpartition(b".")[0]):
        assert await place.refused(b"Bearer " + spoiled) == "the token is not valid here"


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "other"},
        {"aud": None},
        {"iss": "other"},
        {"iss": None},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
    ],
    ids=["another audience", "no audience", "another issuer", "no issuer", "expired", "without end", "not yet"],
)
async def test_claims_that_do_not_fit(place: Place, change: dict[str, Any]) -> None:
    claims = {**(await place.claims("root")), **change}
    (key,) = await place.house.read(lambda tx: SigningKeys(tx, SEAL).all())
    kept = {name: value for name, value in claims.items() if value is not None}
    token = jwt.encode(kept, key.private, "ES256", headers={"kid": key.kid})
    assert await place.refused(b"Bearer " + token.encode()) == "the token is not valid here"


async def test_a_token_dies_with_its_account(place: Place) -> None:
    token = await place.token("dev", "repository:team/app:pull")
    other = await place.token("boss", "repository:team/app:pull")
    assert place.gate.admit_now(token, PULL)

    async def disable(tx: Transaction) -> None:
        user = await Users(tx).named("dev")
        assert user is not None
        await Users(tx).set_disabled(user, disabled=True)

    await place.house.write(disable)
    await place.gate._revoked.load(place.house.metadata)
    assert await place.refused(token) == "the token is not valid any more"
    assert place.gate.admit_now(other, PULL)
    assert await place.refused(basic("dev", PASSWORD)) == "wrong user name or password"


async def test_tokens_on_a_project_die_when_it_is_hidden_or_loses_a_member(place: Place) -> None:
    wanted = (scopes.pull("open/app"),)
    token = await place.token("stranger", "repository:open/app:pull")
    mine = await place.token("stranger", "repository:team/app:pull")

    async def hide(tx: Transaction) -> None:
        project = await Projects(tx).named("open")
        assert project is not None
        await Projects(tx).set_public(project, public=False)

    await place.house.write(hide)
    await place.gate._revoked.load(place.house.metadata)
    assert await place.refused(token, wanted) == "the token is not valid any more"
    assert place.gate.admit_now(mine, ())  # what concerns no project goes on
    assert not place.gate._revoked.hits(clock.local() + 1000, of_project("open"))


async def test_basic_and_nobody(place: Place) -> None:
    assert (await place.gate.admit(basic("dev", PASSWORD), PUSH)).name == "dev"
    assert await place.refused(basic("stranger", PASSWORD)) == "this account may not do this"
    assert await place.refused(None) == "authentication required"
    assert await place.refused(None, ()) == "authentication required"
    assert await place.gate.admit(None, (scopes.pull("open/app"),)) is ANONYMOUS
    assert await place.gate.admit(b"Basic Og==", (scopes.pull("open/app"),)) is ANONYMOUS
    for spoiled in (b"Basic", b"Basic !!!", b"Digest x", b"Bearer", b"Bearer ", b""):
        assert await place.refused(spoiled)


async def test_an_unknown_name_and_a_wrong_password_say_the_same_and_take_as_long(place: Place) -> None:
    best = {"dev": 9.0, "nobody-at-all": 9.0}
    for attempt in range(4):
        for name, before in best.items():
            begun = time.perf_counter()
            assert await place.refused(basic(name, f"wrong{attempt}")) == "wrong user name or password"
            best[name] = min(before, time.perf_counter() - begun)
    # to hash a password takes a hundred times as long as to find that there is none; machines are noisy, by less
    assert 0.1 < best["dev"] / best["nobody-at-all"] < 10


async def test_failures_lock_an_account_whether_it_exists_or_not(place: Place) -> None:
    for name in ("dev", "nobody-at-all"):
        for attempt in range(10):
            assert await place.refused(basic(name, f"wrong{attempt}"))
        with pytest.raises(TooMany) as caught:
            await place.gate.admit(basic(name, "anything"), PULL, "", "10.0.0.9")
        assert 0 < caught.value.retry_after <= 600
    with pytest.raises(TooMany):
        await place.gate.admit(basic("dev", PASSWORD), PULL, "", "10.0.0.9")


async def test_a_robots_secret(place: Place) -> None:
    own = (place.house.projects["team"], "team")
    grants = [RobotGrant("team", "repository", "pull")]
    robot, secret = await place.house.write(lambda tx: Robots(tx).add("ci", own, grants))
    for name in ("robot$team+ci", "robot@team+ci"):
        assert (await place.gate.admit(basic(name, secret), PULL)).name == "robot$team+ci"
        assert await place.refused(basic(name, secret), PUSH) == "this account may not do this"
    assert await place.refused(basic("robot$team+ci", "lading_rbt_" + "x" * 46)) == "wrong user name or password"
    assert await place.refused(basic("robot$nobody", secret)) == "wrong user name or password"
    renewed = await place.house.write(lambda tx: Robots(tx).rotate(robot))
    assert await place.refused(basic("robot$team+ci", secret)) == "wrong user name or password"
    assert (await place.gate.admit(basic("robot$team+ci", renewed), PULL)).name == "robot$team+ci"
    chosen = await place.accounts.checker.hashed("Chosen-by-hand-1")
    found = await place.house.read(lambda tx: Robots(tx).find(robot.id))
    assert found is not None
    await place.house.write(lambda tx: Robots(tx).rotate(found, chosen))
    assert (await place.gate.admit(basic("robot$team+ci", "Chosen-by-hand-1"), PULL)).name == "robot$team+ci"


async def test_an_expired_robot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    grants = [RobotGrant("*", "repository", "pull")]
    _, secret = await place.house.write(lambda tx: Robots(tx).add("short", None, grants, duration=1))
    assert (await place.gate.admit(basic("robot$short", secret), PULL)).name == "robot$short"
    later = clock.local() + 86_400_001
    monkeypatch.setattr(clock, "local", lambda: later)
    assert await place.refused(basic("robot$short", secret)) == "wrong user name or password"


async def test_an_upload_is_finished_with_a_token_that_expired_meanwhile(place: Place) -> None:
    token = await place.token("dev", "repository:team/app:pull,push")
    begun = time.time()
    subject = f"u{place.house.ids['dev']}"
    moment = begun + 3600
    place.gate._clock = lambda: moment
    place.gate._tokens._clock = lambda: moment
    assert await place.refused(token, PUSH) == "the token is not valid here"
    late = place.gate.admit_late
    assert late(token, PUSH, subject, begun)
    assert late(token, PUSH, "u999", begun) is None
    assert late(token, PUSH, "", begun) is None
    assert late(token, (scopes.push("team/other"),), subject, begun) is None
    assert late(token, PUSH, subject, begun + 1800) is None  # it had expired before this upload began
    assert late(token, PUSH, subject, begun - 86_401) is None
    assert late(b"Bearer x.y.z", PUSH, subject, begun) is None
    assert late(None, PUSH, subject, begun) is None
    await place.house.write(lambda tx: Revocations(tx).add(subject))
    await place.gate._revoked.load(place.house.metadata)
    assert late(token, PUSH, subject, begun) is None


async def test_keys_change_without_an_outage(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await place.token("dev", "repository:team/app:pull")
    metadata = place.house.metadata
    made = await metadata.write(lambda tx: SigningKeys(tx, SEAL).rotate("lading", age=0, lifetime=600_000))
    assert made
    keyring = place.accounts.keyring
    assert await keyring.load(metadata)
    await place.gate.look()
    listed = [key["kid"] for key in json.loads(keyring.jwks())["keys"]]
    assert made in listed
    assert len(listed) == 4
    kid = jwt.get_unverified_header(before[7:])["kid"]
    waiting = await place.token("dev", "repository:team/app:pull")
    assert jwt.get_unverified_header(waiting[7:])["kid"] == kid  # the new one is known, and does not sign yet
    later = clock.local() + LEAD + 1
    monkeypatch.setattr(clock, "local", lambda: later)
    after = await place.token("dev", "repository:team/app:pull")
    assert jwt.get_unverified_header(after[7:])["kid"] == made
    for token in (before, waiting):
        assert place.gate.admit_now(token, PULL)
    place.gate._tokens._clock = lambda: later / 1000
    assert place.gate.admit_now(after, PULL)
    later += 600_001
    await metadata.write(lambda tx: SigningKeys(tx, SEAL).rotate("lading", age=10**12, lifetime=600_000))
    await place.gate.look()
    assert [key["kid"] for key in json.loads(keyring.jwks())["keys"]] == [made, listed[-1]]
    assert not await metadata.write(lambda tx: SigningKeys(tx, SEAL).rotate("lading", age=10**12, lifetime=1))


async def test_who_may_make_accounts_and_projects(place: Place) -> None:
    from dataclasses import replace
    from functools import partial

    from lading.access.rights import Rights
    from lading.control.settings import change
    from lading.errors import Denied, Invalid

    with pytest.raises(Denied, match="selfregistration"):
        await place.accounts.register("newcomer", PASSWORD)

    async def may(tx: Transaction) -> list[bool]:
        callers = (
            place.house.user("dev"),
            place.house.user("root"),
            ANONYMOUS,
            place.house.user("dev", "repository:x:pull"),
        )
        return [await place.accounts.may_create_projects(tx, await Rights.of(tx, one)) for one in callers]

    assert await place.house.read(may) == [True, True, False, False]
    place.accounts.settings = replace(place.accounts.settings, self_registration=True, everyone_creates=False)
    assert await place.house.read(may) == [False, True, False, False]
    for creating, everyone in (("everyone", True), ("adminonly", False)):  # what is set while it runs outdoes the file
        await place.house.write(partial(change, name="project_creation_restriction", value=creating))
        place.accounts.settings = replace(place.accounts.settings, everyone_creates=not everyone)
        assert await place.house.read(may) == [everyone, True, False, False]
    with pytest.raises(Invalid, match="too short"):
        await place.accounts.register("newcomer", "Aa1")
    made = await place.accounts.register("newcomer", PASSWORD)
    assert not made.admin
    assert (await place.gate.admit(basic("newcomer", PASSWORD), ())).id == made.id


async def test_a_key_cannot_be_read_from_the_index_alone(place: Place) -> None:
    from lading.errors import StoreError

    with pytest.raises(StoreError, match="another key"):
        await Keyring(Seal(b"y" * 32), "lading", "lading").load(place.house.metadata)
