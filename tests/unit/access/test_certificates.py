"""Which chains are trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lading.access.certificates import RefusedChainError, signer
from tests.unit.access import makers
from tests.unit.access.makers import NOW, Issued, issue, usage

AT = datetime.fromtimestamp(NOW, UTC)
SIGNS = usage(digital_signature=True)
ISSUES = usage(key_cert_sign=True)


def check(chain: list[Issued], *roots: Issued) -> float:
    found = signer([each.certificate for each in chain], [root.certificate for root in roots], AT)
    assert found.key == chain[0].key.public_key()
    return found.until


def why(chain: list[Issued], *roots: Issued) -> str:
    with pytest.raises(RefusedChainError) as caught:
        check(chain, *roots)
    return str(caught.value)


def test_good_ones() -> None:
    root = issue("root", ca=True, key_usage=ISSUES)
    middle = issue("middle", root, ca=True, path_length=0, key_usage=ISSUES, days=(-1, 3))
    leaf = issue("leaf", middle, key_usage=SIGNS)
    assert check([leaf, middle], root) == NOW + 3 * 86400
    assert check([leaf, root, middle], root)
    assert check([issue("leaf", root, ca=False)], root)
    assert check([issue("leaf", root, extra=[(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), True)])], root)
    assert check([leaf], middle)


def test_a_certificate_that_is_itself_in_the_bundle_needs_no_rights() -> None:
    alone = issue("alone", key_usage=usage(key_encipherment=True))
    assert check([alone], alone)


@pytest.mark.parametrize("kind", [makers.rsa_key, makers.ed_key, lambda name: makers.ec_key(name, ec.SECP521R1)])
def test_each_kind_of_key(kind: Callable[[str], makers.Private]) -> None:
    root = issue("root", ca=True, key=kind("root"))
    assert check([issue("leaf", root, key=kind("leaf"))], root)


def test_two_roots_of_one_name_after_a_change_of_key() -> None:
    old, new = issue("root", ca=True, key=makers.ec_key("old")), issue("root", ca=True, key=makers.ec_key("new"))
    assert check([issue("leaf", new)], old, new)
    assert check([issue("leaf", old)], old, new)


def test_dates() -> None:
    root = issue("root", ca=True)
    late = issue("late", root, days=(-5, -1))
    early = issue("early", root, days=(1, 5))
    assert "not valid at this time" in why([late], root)
    assert "not valid at this time" in why([early], root)
    gone = issue("gone", root, ca=True, days=(-5, -1))
    assert "not valid at this time" in why([issue("leaf", gone), gone], root)
    old = issue("old", ca=True, days=(-5, -1))
    assert "not valid at this time" in why([issue("leaf", old)], old)
    assert "not valid at this time" in why([old], old)


def test_issuers_without_the_right() -> None:
    root = issue("root", ca=True)
    for middle in (issue("middle", root), issue("middle", root, ca=False)):
        assert "not a certificate authority" in why([issue("leaf", middle), middle], root)
    middle = issue("middle", root, ca=True, key_usage=SIGNS)
    assert "may not sign certificates" in why([issue("leaf", middle), middle], root)
    plain = issue("plain")
    assert "not a certificate authority" in why([issue("leaf", plain)], plain)


def test_path_length() -> None:
    root = issue("root", ca=True, path_length=0)
    middle = issue("middle", root, ca=True)
    assert "longer than" in why([issue("leaf", middle), middle], root)
    assert check([issue("leaf", root)], root)


def test_leaf_that_is_not_for_signing() -> None:
    root = issue("root", ca=True)
    assert "digitalSignature" in why([issue("leaf", root, key_usage=usage(key_encipherment=True))], root)


def test_names_that_fit_without_the_signature() -> None:
    root = issue("root", ca=True)
    own = issue("own", ca=True)
    pretender = issue("leaf", own, issuer_name="root")
    assert "does not fit" in why([pretender], root)


def test_critical_extension_nobody_understands() -> None:
    root = issue("root", ca=True)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert "critical extension" in why([issue("leaf", root, extra=[(unknown, True)])], root)
    assert check([issue("leaf", root, extra=[(unknown, False)])], root)


def test_a_weak_or_odd_key_at_the_end() -> None:
    root = issue("root", ca=True)
    assert "too short" in why([issue("leaf", root, key=makers.rsa_key("weak", 1024))], root)
    assert "secp256k1" in why([issue("leaf", root, key=makers.ec_key("", ec.SECP256K1))], root)


def test_a_maze_of_one_name_is_left_soon() -> None:
    """All certificates bear one name, so each may have issued each: the paths through them are countless."""
    root = issue("same", ca=True)
    maze = [issue("same", ca=True, key=makers.ec_key(f"maze {number}")) for number in range(8)]
    began = time.process_time()
    assert "does not fit" in why(maze, root)
    assert time.process_time() - began < 5  # countless is more than that


def test_no_roots() -> None:
    assert "has issued it" in why([issue("leaf")])
