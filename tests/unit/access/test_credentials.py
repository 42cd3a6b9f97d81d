"""Secrets that are made here, and passwords that people choose."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import bcrypt
import pytest

from lading.access import credentials, passwords
from lading.access.credentials import Prefix
from lading.access.passwords import Checker, Policy
from lading.access.sealing import Seal, read_key
from lading.errors import Invalid, StoreError


@pytest.mark.parametrize("prefix", list(Prefix))
def test_a_secret_is_known_by_its_form(prefix: Prefix) -> None:
    made = {credentials.make(prefix) for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        assert re.fullmatch(rf"{prefix}[0-9A-Za-z]{{46}}", secret)
        assert credentials.is_one(secret, prefix)
        changed = secret[:-8] + ("a" if secret[-8] != "a" else "b") + secret[-7:]
        assert not credentials.is_one(changed, prefix)
    assert not credentials.is_one(next(iter(made)) + "x", prefix)
    assert not credentials.is_one("", prefix)
    other = next(each for each in Prefix if each != prefix)
    assert not credentials.is_one(next(iter(made)), other)


def test_a_checksum_is_that_of_anybody_who_computes_it() -> None:
    # written out, since scanners rely on it: base62 of the CRC-32 of all that stands before
    secret = "lading_pat_" + "A" * 40
    number, text = __import__("zlib").crc32(secret.encode()), ""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for _ in range(6):
        number, rest = divmod(number, 62)
        text = alphabet[rest] + text
    assert credentials.is_one(secret + text, Prefix.PERSONAL)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("Short1", "too short"),
        ("alllowercase1", "large letter"),
        ("ALLUPPERCASE1", "small letter"),
        ("NoDigitsHere", "digit"),
        ("Password123", "tried first"),
        ("Alice12345", "tried first"),
        ("Aa1" + "x" * 2000, "too long"),
        ("Aa1bcdef\0g", "NUL"),
    ],
)
def test_passwords_that_are_not_taken(password: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Policy().check(password, "alice12345")


def test_a_policy_can_ask_for_less() -> None:
    Policy(least=6, mixed=False).check("correct horse", "alice")


def test_argon2_takes_the_whole_password() -> None:
    first, second = "A1" + "x" * 98, "A1" + "x" * 97 + "y"
    stored = passwords.hashed(first)
    assert stored.startswith("$argon2id$")
    assert passwords.fits(first.encode(), stored)
    assert not passwords.fits(second.encode(), stored)
    assert not passwords.outdated(stored)


def test_what_was_brought_over_is_checked_in_its_own_form() -> None:
    long = b"x" * 80
    kept = bcrypt.hashpw(long[:72], bcrypt.gensalt(4)).decode()
    assert passwords.fits(long, kept)  # as htpasswd made it, of the first 72 bytes
    assert not passwords.fits(b"y" * 80, kept)
    assert passwords.outdated(kept)
    harbor = hashlib.pbkdf2_hmac("sha256", b"Harbor12345", b"salt", 4096, 16).hex()
    assert passwords.fits(b"Harbor12345", f"pbkdf2-sha256$4096$salt${harbor}")
    assert not passwords.fits(b"Harbor12346", f"pbkdf2-sha256$4096$salt${harbor}")


@pytest.mark.parametrize("stored", ["", "nonsense", "$argon2id$v=19$broken", "$2y$10$short", "md5$1$a$b", "a$b$c"])
def test_what_is_stored_wrongly_lets_nobody_in(stored: str) -> None:
    assert not passwords.fits(b"anything", stored)
    assert not passwords.fits(b"", stored)


@pytest.mark.anyio
async def test_a_success_is_remembered_until_the_stored_hash_changes() -> None:
    checker = Checker()
    stored = passwords.hashed("Secret-word-1")
    assert not checker.remembered("alice", b"Secret-word-1", stored)
    assert await checker.fits("alice", b"Secret-word-1", stored)
    assert checker.remembered("alice", b"Secret-word-1", stored)
    assert not checker.remembered("bob", b"Secret-word-1", stored)
    assert not checker.remembered("alice", b"Secret-word-2", stored)
    assert not checker.remembered("alice", b"Secret-word-1", passwords.hashed("Secret-word-1"))
    assert not await checker.fits("nobody", b"Secret-word-1", "")
    assert not checker.remembered("nobody", b"Secret-word-1", "")
    checker.close()


def test_a_seal_opens_for_its_key_and_its_purpose_alone(tmp_path: Path) -> None:
    key = read_key(tmp_path / "lading" / "seal.key")
    assert (tmp_path / "lading" / "seal.key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "lading" / "seal.key") == key
    sealed = Seal(key).seal(b"content", "signing key")
    assert b"content" not in sealed
    assert Seal(key).seal(b"content", "signing key") != sealed
    assert Seal(key).open(sealed, "signing key") == b"content"
    for seal, purpose in ((Seal(key), "another"), (Seal(b"x" * 32), "signing key")):
        with pytest.raises(StoreError, match="sealed with another key"):
            seal.open(sealed, purpose)
