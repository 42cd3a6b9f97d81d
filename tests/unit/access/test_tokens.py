"""Tokens of an outside server: each way to name a key, each algorithm, and every refusal."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from lading.access import scopes
from lading.access.keys import ALGORITHMS, libtrust_id, thumbprint
from lading.access.principal import Kind, Principal
from lading.access.tokens import MAX_TOKEN, Tokens
from lading.errors import ConfigurationError, Unauthenticated
from tests.support.access import TokenServer
from tests.support.logs import capture_logs
from tests.unit.access import makers
from tests.unit.access.makers import NOW, claims, guarding, token

WANTED = (scopes.push("team/app"),)
ALICE = Principal("alice", Kind.TOKEN)
KEY = makers.ec_key()
KID = thumbprint(KEY.public_key())


@pytest.fixture
def guard(tmp_path: Path) -> Tokens:
    return guarding(rootcertbundle=makers.bundle(tmp_path, makers.public_pem(KEY)))


def to_jwk(key: makers.Private) -> dict[str, Any]:
    algorithm = {"RSAPrivateKey": RSAAlgorithm, "ECPrivateKey": ECAlgorithm, "Ed25519PrivateKey": OKPAlgorithm}
    return json.loads(algorithm[type(key).__name__].to_jwk(key.public_key()))  # type: ignore[attr-defined]


def refused(guard: Tokens, authorization: bytes | None, wanted: tuple[scopes.Scope, ...] = WANTED) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        guard.admit_now(authorization, wanted)
    return caught.value


def reason(guard: Tokens, authorization: bytes) -> str:
    """Why a token is refused, as the log has it; the caller is told only that it is invalid."""
    with capture_logs() as logs:
        refusal = refused(guard, authorization)
    assert refusal.challenge.endswith(',error="invalid_token"')
    assert [entry.msg for entry in logs] == ["token refused"]
    for part in authorization.split(b" ")[-1].split(b"."):
        assert len(part) < 20 or part.decode("latin-1") not in repr(logs)
    return str(logs[0].why)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm(tmp_path: Path, algorithm: str) -> None:
    key = makers.key_for(algorithm)
    guard = guarding(rootcertbundle=makers.bundle(tmp_path, makers.public_pem(key)))
    good = token(key, {"kid": thumbprint(key.public_key())}, algorithm)
    assert guard.admit_now(good, WANTED) == ALICE
    head, body, signature = good.split(b".")
    broken = signature[:10] + (b"A" if signature[10:11] != b"A" else b"B") + signature[11:]
    assert reason(guard, b".".join((head, body, broken))) == "its signature does not fit"


@pytest.mark.parametrize("name", [thumbprint, libtrust_id])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_kid_in_either_form_for_a_certificate_in_the_bundle(tmp_path: Path, name: Any, algorithm: str) -> None:
    key = makers.key_for(algorithm)
    root = makers.issue("root", key=key, ca=True)
    guard = guarding(rootcertbundle=makers.bundle(tmp_path, root.pem))
    assert guard.admit_now(token(key, {"kid": name(key.public_key())}, algorithm), WANTED).name == "alice"


def test_a_kid_of_a_jwk_set_and_the_thumbprint_of_one_without(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [to_jwk(KEY) | {"kid": "2026-key"}, to_jwk(makers.rsa_key())]}))
    guard = guarding(jwks=str(path))
    assert guard.admit_now(token(KEY, {"kid": "2026-key"}), WANTED) == ALICE
    assert guard.admit_now(token(KEY, {"kid": KID}), WANTED) == ALICE
    assert (
        guard.admit_now(token(makers.rsa_key(), {"kid": thumbprint(makers.rsa_key().public_key())}, "PS512"), WANTED)
        == ALICE
    )
    assert "not trusted" in reason(guard, token(KEY, {"kid": "2025-key"}))
    assert "does not say which key" in reason(guard, token(KEY, {"kid": ""}))
    assert "does not say which key" in reason(guard, token(KEY, {}))


def test_an_embedded_key_must_be_a_trusted_one(guard: Tokens) -> None:
    assert guard.admit_now(token(KEY, {"jwk": to_jwk(KEY)}), WANTED) == ALICE
    other = makers.ec_key("other")
    assert "not trusted" in reason(guard, token(other, {"jwk": to_jwk(other)}))
    assert "not trusted" in reason(guard, token(other, {"jwk": to_jwk(other) | {"kid": KID}}))
    assert "signature" in reason(guard, token(other, {"jwk": to_jwk(KEY)}))
    assert "not usable" in reason(guard, token(KEY, {"jwk": {"kty": "EC"}}))
    assert "not usable" in reason(guard, token(KEY, {"jwk": {"kty": "oct", "k": "AAAA"}}))
    assert "malformed" in reason(guard, token(KEY, {"jwk": "nonsense"}))


class TestChains:
    root = makers.issue("root", ca=True)
    middle = makers.issue("middle", root, ca=True)
    leaf = makers.issue("leaf", middle, key=makers.ec_key("leaf"), key_usage=makers.usage(digital_signature=True))

    @pytest.fixture
    def guard(self, tmp_path: Path) -> Tokens:
        return guarding(rootcertbundle=makers.bundle(tmp_path, self.root.pem))

    def test_in_the_header_or_in_the_key(self, guard: Tokens) -> None:
        chain = [self.leaf.x5c, self.middle.x5c]
        assert guard.admit_now(token(self.leaf.key, {"x5c": chain}), WANTED) == ALICE
        assert guard.admit_now(token(self.leaf.key, {"x5c": [*chain, self.root.x5c]}), WANTED) == ALICE
        assert guard.admit_now(token(self.leaf.key, {"jwk": to_jwk(self.leaf.key) | {"x5c": chain}}), WANTED) == ALICE

    def test_of_the_root_alone(self, guard: Tokens) -> None:
        assert guard.admit_now(token(self.root.key, {"x5c": [self.root.x5c]}), WANTED) == ALICE

    def test_signed_by_another_key_than_the_leafs(self, guard: Tokens) -> None:
        header = {"x5c": [self.leaf.x5c, self.middle.x5c]}
        assert "signature" in reason(guard, token(makers.ec_key("other"), header))

    def test_that_leads_nowhere(self, guard: Tokens) -> None:
        assert "has issued it" in reason(guard, token(self.leaf.key, {"x5c": [self.leaf.x5c]}))
        stranger = makers.issue("stranger", ca=True)
        assert "has issued it" in reason(guard, token(stranger.key, {"x5c": [stranger.x5c]}))

    def test_of_a_forged_root(self, guard: Tokens) -> None:
        forged = makers.issue("root", ca=True, key=makers.ec_key("forged"))
        bad = makers.issue("bad", forged, key=makers.ec_key("bad"))
        assert "does not fit" in reason(guard, token(bad.key, {"x5c": [bad.x5c, forged.x5c]}))
        assert "does not fit" in reason(guard, token(forged.key, {"x5c": [forged.x5c]}))

    def test_that_is_malformed(self, guard: Tokens) -> None:
        for x5c in (["!!!!"], ["AAAA"], [self.leaf.x5c, ""], [self.leaf.x5c[:-8]]):
            assert "cannot be read" in reason(guard, token(self.leaf.key, {"x5c": x5c}))
        assert "are taken" in reason(guard, token(self.leaf.key, {"x5c": [self.leaf.x5c] * 9}))
        assert "malformed" in reason(guard, token(self.leaf.key, {"x5c": self.leaf.x5c}))
        assert "malformed" in reason(guard, token(self.leaf.key, {"x5c": [1]}))
        assert "list of strings" in reason(guard, token(self.leaf.key, {"jwk": {"x5c": self.leaf.x5c}}))

    def test_beats_a_kid(self, guard: Tokens) -> None:
        stranger = makers.issue("stranger", ca=True)
        header = {"x5c": [stranger.x5c], "kid": thumbprint(self.root.key.public_key())}
        assert "has issued it" in reason(guard, token(self.root.key, header))

    def test_is_not_remembered_past_a_certificate_on_the_way(self, tmp_path: Path) -> None:
        clock = makers.Clock()
        guard = guarding(clock, rootcertbundle=makers.bundle(tmp_path, self.root.pem))
        ends_soon = makers.issue("leaf", self.root, key=makers.ec_key("leaf"), days=(-10, 0))
        good = token(ends_soon.key, {"x5c": [ends_soon.x5c]})
        assert guard.admit_now(good, WANTED) == ALICE
        clock.now += 1
        assert "not valid at this time" in reason(guard, good)


def test_tokens_of_the_token_server_the_other_tests_use(tmp_path: Path) -> None:
    server = TokenServer(tmp_path, {"bob": "secret"})
    guard = Tokens.open(**server.configuration()["token"])
    good = b"Bearer " + server.token("bob", ["repository:team/app:pull,push"]).encode()
    assert guard.admit_now(good, WANTED) == Principal("bob", Kind.TOKEN)
    server._server.server_close()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "somebody"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": 7}, "malformed"),
        ({"aud": "elsewhere"}, "audience"),
        ({"aud": ["elsewhere", "registry2"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": [1]}, "malformed"),
        ({"exp": int(NOW) - 61}, "expired"),
        ({"exp": None}, "malformed"),
        ({"exp": "tomorrow"}, "malformed"),
        ({"nbf": int(NOW) + 61}, "not valid yet"),
        ({"access": "everything"}, "malformed"),
        ({"access": [{"type": "repository", "name": "team/app"}, "x"]}, "malformed"),
        ({"access": [{"type": "repository", "actions": ["pull"]}]}, "malformed"),
        ({"access": [{"type": "repository", "name": "team/app", "actions": "pull"}]}, "malformed"),
        ({"sub": 7}, "malformed"),
    ],
)
def test_claims_that_do_not_do(guard: Tokens, changes: dict[str, Any], why: str) -> None:
    assert why in reason(guard, by_hand(claims(**changes)))


def unpadded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def by_hand(body: Any, header: dict[str, Any] | None = None) -> bytes:
    """A token signed with KEY whose claims may be of any shape."""
    text = jwt.api_jws.encode(
        body if isinstance(body, bytes) else json.dumps(body).encode(), KEY, "ES256", headers=header or {"kid": KID}
    )
    return b"Bearer " + text.encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(NOW) - 60},
        {"nbf": int(NOW) + 60},
        {"nbf": None},
        {"iat": int(NOW) + 1000},
        {"aud": ["elsewhere", "registry"]},
        {"exp": NOW + 0.5},
        {"exp": 1e300},
    ],
)
def test_claims_that_still_do(guard: Tokens, changes: dict[str, Any]) -> None:
    assert guard.admit_now(by_hand(claims(**changes)), WANTED).name == "alice"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 40_000, b'{"exp": 1e400}', b'{"a":' * 9999]
)
def test_claims_that_are_no_object(guard: Tokens, body: bytes) -> None:
    assert reason(guard, by_hand(body))


@pytest.mark.parametrize(
    ("access", "wanted", "may"),
    [
        ([("repository", "a", ["pull"])], (scopes.pull("a"),), True),
        ([("repository", "a", ["pull"])], (scopes.push("a"),), False),
        ([("repository", "a", ["push"])], (scopes.push("a"),), False),
        ([("repository", "a", ["pull"]), ("repository", "a", ["push"])], (scopes.push("a"),), True),
        ([("repository", "a", ["*"])], (scopes.push("a"), scopes.delete("a")), True),
        ([("repository", "a", ["*"])], (scopes.pull("b"),), False),
        ([("repository", "a", ["pull", "push"])], (scopes.push("a"), scopes.pull("b")), False),
        (
            [("repository", "a", ["pull", "push"]), ("repository", "b", ["pull"])],
            (scopes.push("a"), scopes.pull("b")),
            True,
        ),
        ([("repository", "A", ["pull"])], (scopes.pull("a"),), False),
        ([("repository", "catalog", ["*"])], (scopes.catalog(),), False),
        ([("registry", "catalog", ["*"])], (scopes.catalog(),), True),
        ([("registry", "catalog", ["pull"])], (scopes.catalog(),), False),
        ([("repository", "a", None)], (scopes.pull("a"),), False),
        ([], (), True),
        ([], (scopes.pull("a"),), False),
        (None, (), True),
    ],
)
def test_what_a_token_allows(guard: Tokens, access: Any, wanted: tuple[scopes.Scope, ...], may: bool) -> None:
    listed = access and [{"type": kind, "name": name, "actions": actions} for kind, name, actions in access]
    presented = by_hand(claims() | {"access": listed})
    if may:
        assert guard.admit_now(presented, wanted) == ALICE
        return
    refusal = refused(guard, presented, wanted)
    assert refusal.challenge == (
        f'Bearer realm="{makers.REALM}",service="registry",scope="{scopes.render(wanted)}",error="insufficient_scope"'
    )
    assert isinstance(refusal.detail, list)
    assert [entry["Name"] for entry in refusal.detail] == [scope.name for scope in wanted for _ in scope.actions]


def test_an_anonymous_subject(guard: Tokens) -> None:
    assert guard.admit_now(by_hand(claims(sub="")), WANTED) == Principal("", Kind.TOKEN)
    assert guard.admit_now(by_hand(claims(sub=None)), WANTED) == Principal("", Kind.TOKEN)


@pytest.mark.parametrize("authorization", [None, b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"bearer\tx", b"Token x"])
def test_no_token_at_all(guard: Tokens, authorization: bytes | None) -> None:
    refusal = refused(guard, authorization)
    assert (
        refusal.challenge == f'Bearer realm="{makers.REALM}",service="registry",scope="repository:team/app:pull,push"'
    )
    assert refused(guard, authorization, ()).challenge == f'Bearer realm="{makers.REALM}",service="registry"'


def test_the_scheme_is_read_in_any_case(guard: Tokens) -> None:
    assert guard.admit_now(b"bEARER" + token(KEY, {"kid": KID})[6:], WANTED) == ALICE


@pytest.mark.parametrize(
    "presented",
    [
        b"x",
        b"x.y",
        b"..",
        b"a.b.c",
        b"a.b.c.d",
        b"=.=.=",
        b"\xff\xfe.\x00.!",
        b"e30.e30.",
        b"e30=.e30=.AA",
        b"." * 60_000,
    ],
)
def test_what_is_no_token(guard: Tokens, presented: bytes) -> None:
    assert reason(guard, b"Bearer " + presented)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_in_order(presented: bytes) -> None:
    guard = Tokens(_trust_nobody(), realm="r", clock=makers.Clock())
    assert refused(guard, b"Bearer " + presented).challenge.startswith("Bearer ")
    assert refused(guard, presented).challenge.startswith("Bearer ")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4), st.data())
def test_any_header_is_refused_in_order(value: Any, data: st.DataObject) -> None:
    guard = Tokens(_trust_nobody(), realm="r", clock=makers.Clock())
    field = data.draw(st.sampled_from(["alg", "kid", "x5c", "jwk", "crit", "typ"]))
    head = unpadded(json.dumps({"alg": "ES256", field: value}).encode())
    assert refused(guard, b"Bearer " + head + b".e30.AAAA").challenge.endswith('error="invalid_token"')


def _trust_nobody() -> Any:
    from lading.access.tokens import Trust

    return Trust("issuer", "registry", {}, (), frozenset(ALGORITHMS))


def test_a_token_that_is_too_long(guard: Tokens) -> None:
    long = by_hand(claims(padding="x" * MAX_TOKEN))
    assert "longer than" in reason(guard, long)
    assert guard.admit_now(by_hand(claims(padding="x" * (MAX_TOKEN // 2))), WANTED) == ALICE


def test_algorithms_that_are_never_taken(guard: Tokens) -> None:
    none = jwt.encode(claims(), "", "none", headers={"kid": KID})
    assert "'none' is not among" in reason(guard, b"Bearer " + none.encode())
    # the classic confusion: the public key, which everybody knows, used as a shared secret
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    header = json.dumps({"alg": "HS256", "kid": KID}).encode()
    signed = b".".join(map(unpadded, (header, json.dumps(claims()).encode())))
    forged = signed + b"." + unpadded(hmac.digest(public, signed, "sha256"))
    assert "'HS256' is not among" in reason(guard, b"Bearer " + forged)


def test_a_key_signs_with_its_own_algorithms_alone(tmp_path: Path) -> None:
    keys: list[makers.Private] = [makers.rsa_key(), makers.ec_key(), makers.ed_key()]
    guard = guarding(rootcertbundle=makers.bundle(tmp_path, *map(makers.public_pem, keys)))
    for algorithm, named in (("RS256", makers.ec_key()), ("ES256", makers.ed_key()), ("ES384", makers.ec_key())):
        signing = makers.key_for(algorithm)
        presented = token(signing, {"kid": thumbprint(named.public_key())}, algorithm)
        assert f"cannot sign with {algorithm}" in reason(guard, presented)


def test_only_the_algorithms_that_are_configured(tmp_path: Path) -> None:
    files: dict[str, Any] = {"rootcertbundle": makers.bundle(tmp_path, makers.public_pem(makers.rsa_key()))}
    guard = guarding(**files, signingalgorithms=["RS512"])
    kid = {"kid": thumbprint(makers.rsa_key().public_key())}
    assert guard.admit_now(token(makers.rsa_key(), kid, "RS512"), WANTED) == ALICE
    assert "'RS256' is not among" in reason(guard, token(makers.rsa_key(), kid, "RS256"))


def test_critical_extensions_of_the_header(guard: Tokens) -> None:
    body = by_hand(claims()).split(b".")[1]
    header = {"alg": "ES256", "kid": KID, "crit": ["b64"], "b64": True}
    signed = unpadded(json.dumps(header).encode()) + b"." + body
    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(signed, KEY)
    assert "crit" in reason(guard, b"Bearer " + signed + b"." + unpadded(signature))


def test_a_good_token_is_verified_once_and_forgotten_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = makers.Clock()
    guard = guarding(clock, rootcertbundle=makers.bundle(tmp_path, makers.public_pem(KEY)))
    verified: list[bytes] = []
    real = ECAlgorithm.verify

    def counted(algorithm: ECAlgorithm, signed: bytes, *key_and_signature: Any) -> bool:
        verified.append(signed)
        return real(algorithm, signed, *key_and_signature)

    monkeypatch.setattr(ECAlgorithm, "verify", counted)
    good = by_hand(claims(exp=int(NOW) + 400))
    for _ in range(3):
        guard.admit_now(good, WANTED)
        refused(guard, good, (scopes.delete("team/app"),))
    assert len(verified) == 1
    clock.now += 301
    guard.admit_now(good, WANTED)
    assert len(verified) == 2
    clock.now = NOW + 400 + 60
    guard.admit_now(good, WANTED)
    clock.now += 1
    assert "expired" in reason(guard, good)


def test_a_refused_token_is_not_remembered(guard: Tokens) -> None:
    for number in range(3):
        reason(guard, by_hand(claims(iss=f"somebody {number}")))
    assert len(guard._verified) == 0


@pytest.mark.anyio
async def test_waiting_gives_the_same(guard: Tokens) -> None:
    assert (await guard.admit(by_hand(claims()), WANTED)).name == "alice"
    with pytest.raises(Unauthenticated):
        await guard.admit(None, WANTED)
    guard.close()


def test_autoredirect_names_the_host_that_was_asked(tmp_path: Path) -> None:
    files: dict[str, Any] = {"rootcertbundle": makers.bundle(tmp_path, makers.public_pem(KEY))}
    guard = guarding(**files, realm="", autoredirect=True)
    assert guard.needs_origin
    with pytest.raises(Unauthenticated) as caught:
        guard.admit_now(None, (), "https://registry.example:5000")
    assert caught.value.challenge == 'Bearer realm="https://registry.example:5000/auth/token",service="registry"'
    guard = guarding(**files, autoredirect=True, autoredirectpath="/auth/token/")
    with pytest.raises(Unauthenticated) as caught:
        guard.admit_now(None, (), "http://a")
    assert 'realm="http://a/auth/token/"' in caught.value.challenge
    assert not guarding(**files, autoredirectpath="/elsewhere").needs_origin


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "auth.token.rootcertbundle: set it, or jwks"),
        ({"service": ""}, "auth.token.service: it must be set"),
        ({"issuer": ""}, "auth.token.issuer: it must be set"),
        ({"realm": ""}, "auth.token.realm: it must be set"),
        ({"rootcertbundle": "/nowhere/bundle.pem"}, "auth.token.rootcertbundle: /nowhere/bundle.pem cannot be read"),
        ({"jwks": "/nowhere/jwks.json"}, "auth.token.jwks: /nowhere/jwks.json cannot be read"),
        ({"signingalgorithms": ["HS256"]}, "auth.token.signingalgorithms: HS256 is not taken"),
        ({"signingalgorithms": ["none"]}, "auth.token.signingalgorithms: 'none' is not known"),
        ({"autoredirect": True, "autoredirectpath": "token"}, "auth.token.autoredirectpath: it must begin"),
    ],
)
def test_settings_that_do_not_do(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        guarding(**settings)
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        guarding(service="", jwks="/nowhere", signingalgorithms=["HS512"])
    assert len(caught.value.problems) == 3
