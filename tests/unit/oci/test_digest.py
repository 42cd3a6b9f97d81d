"""Digests: their grammar."""

from __future__ import annotations

import hashlib

import pytest

from lading.errors import DigestInvalid
from lading.oci import digest as digests
from lading.oci.digest import ALGORITHMS, Digest

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_a_digest_is_its_text(text: str) -> None:
    digest = Digest.parse(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.hex}" == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a digest"),
        ("sha256", "is not a digest"),
        ("sha256:", "is not a digest"),
        (":" + "0" * 64, "is not a digest"),
        ("sha256:" + "0" * 63, "64 lower-case"),
        ("sha256:" + "0" * 65, "64 lower-case"),
        ("sha256:" + "A" * 64, "64 lower-case"),
        ("sha256:" + "g" * 64, "64 lower-case"),
        ("sha512:" + "0" * 64, "128 lower-case"),
        ("sha256:" + "0" * 128, "64 lower-case"),
        ("SHA256:" + "0" * 64, "is not a digest"),
        ("sha384:" + "0" * 96, "'sha384' is not supported"),
        ("blake3:" + "0" * 64, "'blake3' is not supported"),
        ("md5:" + "0" * 32, "'md5' is not supported"),
        ("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", "is not supported"),
        ("sha256:" + "0" * 64 + "\n", "is not a digest"),
        (" sha256:" + "0" * 64, "is not a digest"),
        ("sha256:" + "٠" * 64, "is not a digest"),
        ("sha256:" + "0" * 62 + "/.", "is not a digest"),
        ("sha256:../../../../etc/passwd", "is not a digest"),
        ("sha256:\x00" + "0" * 63, "is not a digest"),
    ],
)
def test_what_is_no_digest_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(DigestInvalid, match=complaint):
        Digest.parse(text)


def test_a_complaint_is_short_whatever_was_sent() -> None:
    with pytest.raises(DigestInvalid) as found:
        Digest.parse("sha256:" + "z" * 1_000_000)
    assert len(found.value.message) < 500
    assert len(str(found.value.detail)) < 500


@pytest.mark.parametrize("name", ALGORITHMS)
def test_of_says_what_hashlib_says(name: str) -> None:
    assert Digest.of(b"lading", name) == f"{name}:{hashlib.new(name, b'lading').hexdigest()}"


def test_only_what_is_stored_is_an_algorithm() -> None:
    assert [digests.algorithm(name) for name in ALGORITHMS] == list(ALGORITHMS)
    for other in ("md5", "sha1", "sha384", "SHA256", "", "sha256:", "blake3"):
        with pytest.raises(DigestInvalid, match="not supported"):
            digests.algorithm(other)
