"""The guard that goes with a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from lading.access import scopes
from lading.access.guard import Guard, Open, guard
from lading.access.htpasswd import Htpasswd
from lading.access.principal import ANONYMOUS
from lading.access.tokens import Tokens
from lading.config.auth import Auth
from lading.errors import ConfigurationError, Unauthenticated
from tests.support.access import write_htpasswd
from tests.unit.access import makers


@pytest.mark.anyio
async def test_no_authentication_lets_everybody_in_without_a_name() -> None:
    for auth in (None, Auth.model_validate({})):
        found: Guard = guard(auth)
        assert isinstance(found, Open)
        assert not found.needs_origin
        assert found.admit_now(b"whatever", (scopes.delete("a"),)) is ANONYMOUS
        assert await found.admit(None, (scopes.catalog(),)) is ANONYMOUS
        found.close()


def test_htpasswd(tmp_path: Path) -> None:
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": "secret"})
    found: Guard = guard(Auth.model_validate({"htpasswd": {"realm": "A realm", "path": str(path)}}))
    assert isinstance(found, Htpasswd)
    with pytest.raises(Unauthenticated) as caught:
        found.admit_now(None, ())
    assert caught.value.challenge == 'Basic realm="A realm"'
    assert caught.value.detail is None
    found.close()


def test_a_missing_htpasswd_file_is_made_only_where_that_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = Auth.model_validate({"htpasswd": {"realm": "A realm", "path": str(tmp_path / "htpasswd")}})
    with pytest.raises(ConfigurationError, match=r"auth\.htpasswd\.path"):
        guard(auth, provision=False)
    assert capsys.readouterr().out == ""
    guard(auth).close()
    assert "Log in as docker with the password" in capsys.readouterr().out


def test_token(tmp_path: Path) -> None:
    settings = {
        "realm": makers.REALM,
        "service": makers.SERVICE,
        "issuer": makers.ISSUER,
        "rootcertbundle": makers.bundle(tmp_path, makers.public_pem(makers.ec_key())),
        "signingalgorithms": ["ES256"],
    }
    found: Guard = guard(Auth.model_validate({"token": settings}))
    assert isinstance(found, Tokens)
    assert not found.needs_origin
    assert guard(Auth.model_validate({"token": settings | {"autoredirect": True}})).needs_origin


def test_two_at_once(tmp_path: Path) -> None:
    both = {"htpasswd": {"realm": "a", "path": "b"}, "token": {"realm": "a"}}
    with pytest.raises(ConfigurationError, match="both set"):
        guard(Auth.model_validate(both))
