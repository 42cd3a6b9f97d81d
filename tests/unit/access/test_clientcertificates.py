"""Whom a client certificate names."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from lading.access.clientcertificates import MAX_HEADER, ClientCertificates, Named, Naming, Part
from lading.access.principal import Kind
from tests.unit.access.makers import NOW, Issued, issue

NAMINGS = (
    Naming(Part.URI, "spiffe://example.com/ns/ci/sa/*", Kind.ROBOT, "team+*"),
    Naming(Part.EMAIL, "*@example.com", Kind.USER, "*"),
    Naming(Part.COMMON_NAME, "deploy", Kind.ROBOT, "deploy"),
    Naming(Part.COMMON_NAME, "person *", Kind.USER, "*"),
)


def named(*others: x509.GeneralName, common: str = "x", now: float = NOW) -> Named | None:
    extra = [(x509.SubjectAlternativeName(others), False)] if others else []
    made = issue(common, issue("root", ca=True), extra=extra)
    return ClientCertificates(NAMINGS, clock=lambda: now).named(made.certificate.public_bytes(Encoding.DER))


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def test_each_part() -> None:
    assert named(uri("spiffe://example.com/ns/ci/sa/builder")) == Named(Kind.ROBOT, "team+builder")
    assert named(x509.RFC822Name("alice@example.com")) == Named(Kind.USER, "alice")
    assert named(common="deploy") == Named(Kind.ROBOT, "deploy")
    assert named(common="person bob") == Named(Kind.USER, "bob")


def test_the_first_rule_counts_whatever_comes_first_in_the_certificate() -> None:
    both = (x509.RFC822Name("alice@example.com"), uri("spiffe://example.com/ns/ci/sa/builder"))
    assert named(*both, common="deploy") == Named(Kind.ROBOT, "team+builder")


@pytest.mark.parametrize(
    "other",
    [
        uri("spiffe://example.com/ns/ci/sa/"),
        uri("spiffe://example.com/ns/ci/sa/a/b"),
        uri("spiffe://example.com.evil.com/ns/ci/sa/a"),
        uri("xspiffe://example.com/ns/ci/sa/a"),
        uri("spiffe://exampleXcom/ns/ci/sa/a"),
        x509.RFC822Name("alice@example.com.evil.com"),
        x509.RFC822Name("@example.com"),
        x509.DNSName("alice@example.com"),
    ],
    ids=lambda other: other.value,
)
def test_what_does_not_fit(other: x509.GeneralName) -> None:
    assert named(other) is None


@pytest.mark.parametrize("common", ["Deploy", "deploy ", "person ", "person a/b", "person a\nb", "person a\0"])
def test_names_that_do_not_fit(common: str) -> None:
    assert named(common=common) is None


def test_until_it_expires() -> None:
    made = issue("deploy", issue("root", ca=True), days=(-1, 1)).certificate.public_bytes(Encoding.DER)
    now = [NOW]
    certificates = ClientCertificates(NAMINGS, clock=lambda: now[0])
    assert certificates.named(made)
    now[0] += 86_399
    assert certificates.named(made)
    now[0] += 2
    assert certificates.named(made) is None
    assert certificates.named(made) is None
    assert certificates.named(b"no certificate") is None


def header(made: Issued) -> bytes:
    return quote(made.pem.decode(), safe="").encode()


def test_forms_of_a_header() -> None:
    root = issue("root", ca=True)
    made = issue("deploy", root, extra=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)])
    certificates = ClientCertificates(NAMINGS, [root.certificate], clock=lambda: NOW)
    der = made.certificate.public_bytes(Encoding.DER)
    coded = base64.b64encode(der)
    for form in (header(made), b":" + coded + b":", coded, quote(coded, safe="").encode(), coded + b",bm8="):
        assert certificates.handed_on(form) == der, form
    assert certificates.handed_on(coded) == der


def test_headers_that_are_not_taken() -> None:
    root = issue("root", ca=True)
    certificates = ClientCertificates(NAMINGS, [root.certificate], clock=lambda: NOW)
    other = issue("root", ca=True, key=issue("another", ca=True).key)
    forged = issue("deploy", other)
    late = issue("deploy", root, days=(-5, -1))
    for_servers = issue("deploy", root, extra=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    for made in (forged, late, for_servers, issue("deploy")):
        assert certificates.handed_on(header(made)) is None
    good = header(issue("deploy", root))
    assert certificates.handed_on(good)
    for raw in (b"", b"x", b"%00", good[:-40], good.replace(b"%20", b"", 1), good + b"A" * MAX_HEADER, b"\xff" * 40):
        assert certificates.handed_on(raw) is None, raw
