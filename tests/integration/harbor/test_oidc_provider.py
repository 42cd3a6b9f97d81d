"""Logging in by a provider that others wrote (oidc-provider-mock, on authlib): what theirs and ours make of the protocol."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.harbor.test_oidc import API, age
from tests.support.accounts import PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.ports import free_port
from tests.support.process import Process, listening
from tests.support.server import merged

ADA = {"sub": "ada@corp", "preferred_username": "ada", "email": "ada@corp.example", "name": "Ada", "groups": ["crew"]}


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-registration", "true"]
    argv += ["--require-nonce", "true", "--user-claims", json.dumps(ADA)]
    with Process(argv, log=tmp_path / "provider.log", ready=listening(port), timeout=60):
        yield f"http://127.0.0.1:{port}"


def test_the_whole_way(provider: str, tmp_path: Path) -> None:
    server = WithAccounts(tmp_path / "registry")
    registration = {"redirect_uris": [f"{server.url}/c/oidc/callback"]}
    client = httpx2.post(f"{provider}/oauth2/clients", json=registration, trust_env=False).json()
    oidc = {
        "issuer": provider,
        "clientid": client["client_id"],
        "clientsecret": client["client_secret"],
        "groupsclaim": "groups",
        "autoonboard": True,
    }
    accounts = {"adminpassword": PASSWORD, "identitynetworks": ["127.0.0.1"], "oidc": oidc}
    server.configure(merged({}, {"accounts": accounts}))
    with server, Client(server) as browser:
        begun = browser.get("/c/oidc/login", params={"redirect_url": "/harbor"})
        where = begun.headers["location"]
        consent = httpx2.post(where, data={"sub": ADA["sub"]}, trust_env=False)
        answer = browser.get(consent.headers["location"])
        assert (answer.status_code, answer.headers.get("location")) == (302, "/harbor"), answer.text
        told = browser.get(f"{API}/users/current").json()
        assert (told["username"], told["email"], told["realname"]) == ("ada", "ada@corp.example", "Ada")
        secret = told["oidc_user_meta"]["secret"]
        age(server, 61_000)
        assert server.ask("ada", secret).status_code == 200, "by a refresh token of theirs"
        revoked = httpx2.post(f"{provider}/users/{ADA['sub']}/revoke-tokens", trust_env=False)
        assert revoked.status_code < 300, revoked.text
        age(server, 61_000)
        assert server.ask("ada", secret).status_code == 401
        assert browser.get(f"{API}/users/current").status_code == 401
