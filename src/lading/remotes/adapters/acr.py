"""Azure Container Registry, NAME.azurecr.io: a login of Entra ID buys a refresh token of the registry's.

An access token of Entra ID's is exchanged at ``/oauth2/exchange`` for a refresh token, which ``/oauth2/token`` takes for
tokens with scopes (github.com/Azure/acr, docs/AAD-OAuth.md). Service principals, the admin user and tokens of the
registry's own are a user and a password like any. A tag is taken away under ``/acr/v1``.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from lading.errors import BadAnswer, CredentialsError, ManifestUnknown, Missing
from lading.remotes import answers
from lading.remotes.adapters.base import Adapter
from lading.remotes.adapters.extras import is_there, library
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.session import Session

AUDIENCE = "https://containerregistry.azure.net/.default"
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The user name beside a refresh token, where one must be said."""

_SIGNS = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "AZURE_USERNAME")
_MAX_ANSWER = 1 << 20


class ACR(Adapter):
    """A registry in Azure."""

    @staticmethod
    async def ambient(host: str, environment: Mapping[str, str], *, asked: bool) -> Credential | None:
        """What Entra ID gives: by the variables of azure-identity, a workload's or a machine's identity, Azure's CLI."""
        if not asked and not (any(map(environment.get, _SIGNS)) and is_there("azure.identity")):
            return None
        identity, core = library("azure.identity.aio", "azure"), library("azure.core.exceptions", "azure")
        try:
            async with identity.DefaultAzureCredential() as source:
                token = await source.get_token(AUDIENCE)
        except core.ClientAuthenticationError as error:
            raise CredentialsError(f"Entra ID gives no token for {host}: {_brief(error.message)}") from None
        return await exchanged(host, token.token, environment.get("AZURE_TENANT_ID", ""))

    async def delete_tag(self, repository: str, tag: str) -> None:
        path, scopes = f"/acr/v1/{repository}/_tags/{quote(tag)}", (f"repository:{repository}:delete",)
        what = f"to delete {repository}:{tag}"
        try:
            async with self.registry.session.open("DELETE", path, scopes, expect=(200, 202), what=what):
                return
        except Missing as error:
            raise ManifestUnknown(error.message) from None


async def exchanged(host: str, token: str, tenant: str = "") -> Credential:
    """The registry's refresh token for an access token of Entra ID's."""
    form = {"grant_type": "access_token", "service": host, "tenant": tenant, "access_token": token}
    body = urlencode({name: value for name, value in form.items() if value}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    async with (
        Session(host, Keyring({})) as session,
        session.open("POST", "/oauth2/exchange", headers=headers, body=body, what="a login by Entra ID") as answer,
    ):
        refresh = (await answers.document(answer, _MAX_ANSWER, "a refresh token")).get("refresh_token")
    if not isinstance(refresh, str) or not refresh:
        raise BadAnswer(f"{host} takes a login by Entra ID and gives no refresh token")
    return Credential(NOBODY, identity_token=refresh, until=_end(refresh))


def _end(token: str) -> float:
    """The ``exp`` of a JWT, which is only read here; never where it says none."""
    try:
        part = token.split(".")[1]
        said: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get("exp")
    except (IndexError, ValueError, AttributeError):
        return math.inf
    return float(said) if isinstance(said, int | float) else math.inf


def _brief(text: str) -> str:
    """The first line of what azure-identity says, which else goes on for a page."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "it does not say why")[:300]
