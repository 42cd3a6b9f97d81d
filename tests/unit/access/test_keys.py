"""Reading and naming keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from lading.access.keys import UnusableKeyError, jwk_key, libtrust_id, read_bundle, read_jwks, thumbprint, usable
from tests.unit.access import makers


def test_thumbprint_of_the_example_in_rfc_7638() -> None:
    example = {
        "kty": "RSA",
        "n": (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok"
            "njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6"
            "qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awa"
            "pJzKnqDKgw"
        ),
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(jwk_key(example)) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_thumbprint_of_the_ed25519_example_in_rfc_8037() -> None:
    example = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk_key(example)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_libtrust_id_is_twelve_groups_of_four() -> None:
    groups = libtrust_id(makers.rsa_key().public_key()).split(":")
    assert [len(group) for group in groups] == [4] * 12


def test_libtrust_id_of_a_known_key() -> None:
    """The expected value comes from openssl, sha256sum and base32 (coreutils) on this key."""
    pem = (
        b"-----BEGIN PUBLIC KEY-----\n"
        b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZLuPMezUdwoyoIrPSoCCnY7Bn+1f\n"
        b"PU5gMxf8Dmj16pw7HhXffZ2+DNphce2jScheCwzzJJtwZ59cYFwQ3AuVMQ==\n"
        b"-----END PUBLIC KEY-----\n"
    )
    key = usable(serialization.load_pem_public_key(pem))
    assert libtrust_id(key) == "2UDV:OYID:IASM:3Q6F:5MRH:Q4NT:BCP5:2QP3:SSF2:JHHV:J2P4:OQXM"


def test_a_bundle_of_certificates_keys_and_text(tmp_path: Path) -> None:
    root = makers.issue("root", ca=True)
    path = makers.bundle(
        tmp_path, b"subject=CN = root\n", root.pem, b"\n", makers.public_pem(makers.ed_key()),
        makers.rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    )  # fmt: skip
    certificates, keys = read_bundle(Path(path))
    assert certificates == [root.certificate]
    assert [thumbprint(key) for key in keys] == [
        thumbprint(makers.ed_key().public_key()),
        thumbprint(makers.rsa_key().public_key()),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no certificate"),
        (b"hello", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "block 1 is not a valid certificate"),
        (b"-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n", "block 1 is not a valid public key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "no end"),
        (b"x" * (4 * 1024 * 1024 + 1), "larger"),
    ],
)
def test_bundles_that_are_none(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UnusableKeyError, match=says):
        read_bundle(Path(makers.bundle(tmp_path, content)))


def test_a_private_key_in_a_bundle_is_not_used(tmp_path: Path) -> None:
    private = makers.rsa_key().private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UnusableKeyError, match="holds no certificate"):
        read_bundle(Path(makers.bundle(tmp_path, private)))


def test_keys_that_are_too_weak_or_of_another_kind() -> None:
    with pytest.raises(UnusableKeyError, match="1024 bits is too short"):
        usable(makers.rsa_key("weak", 1024))
    with pytest.raises(UnusableKeyError, match="secp256k1"):
        usable(makers.ec_key("", ec.SECP256K1))
    with pytest.raises(UnusableKeyError, match="Ed448"):
        usable(ed448.Ed448PrivateKey.generate())
    with pytest.raises(UnusableKeyError, match="DSA"):
        usable(dsa.generate_private_key(2048).public_key())


def jwks(directory: Path, *keys: object) -> Path:
    path = directory / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return path


def test_a_jwk_set(tmp_path: Path) -> None:
    path = jwks(
        tmp_path,
        {**RSAAlgorithm.to_jwk(makers.rsa_key().public_key(), as_dict=True), "kid": "one", "use": "sig"},
        ECAlgorithm.to_jwk(makers.ec_key().public_key(), as_dict=True),
        {**OKPAlgorithm.to_jwk(makers.ed_key(), as_dict=True), "kid": "private"},
        {"kty": "RSA", "use": "enc", "kid": "for encryption"},
    )
    found = read_jwks(path)
    assert [kid for kid, _ in found] == ["one", "", "private"]
    assert found[2][1].public_bytes_raw() == makers.ed_key().public_key().public_bytes_raw()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not a JWK set"),
        ("[]", "not a JWK set"),
        ("{}", "not a JWK set"),
        ("[" * 100_000, "not a JWK set"),
        ('{"keys": []}', "holds no key"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "symmetric"),
        ('{"keys": [{"kty": "RSA"}]}', "malformed"),
        ('{"keys": [{"kty": "RSA", "n": 5, "e": []}]}', "malformed"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "malformed"),
        ('{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AA"}]}', "malformed"),
        ('{"keys": [{"kty": ["odd"]}]}', "kty"),
        ('{"keys": [{"kty": "RSA", "kid": 7}]}', "kid is not a string"),
    ],
)
def test_jwk_sets_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(UnusableKeyError, match=says) as caught:
        read_jwks(path)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnusableKeyError, match="No such file"):
        read_jwks(tmp_path / "none.json")
