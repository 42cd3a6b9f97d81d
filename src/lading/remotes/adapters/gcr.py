"""Google's registries: gcr.io and Artifact Registry (REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE).

A login is a user that says what the password is: ``_json_key`` a service account's key, ``_json_key_base64`` the same in
base64, ``oauth2accesstoken`` an access token, which google-auth makes and which ends after an hour. The list of an
image's tags also tells what lies below it, and a manifest goes only after its tags.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from lading.errors import CredentialsError, Invalid
from lading.oci.reference import is_tag
from lading.remotes import answers
from lading.remotes.adapters.base import Adapter, inside
from lading.remotes.adapters.extras import is_there, library
from lading.remotes.credentials import Credential
from lading.remotes.http import pull

USER = "oauth2accesstoken"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_FEW = 100_000


class GCR(Adapter):
    """gcr.io, or Artifact Registry."""

    @staticmethod
    async def ambient(host: str, environment: Mapping[str, str], *, asked: bool) -> Credential | None:
        """What google-auth finds: the key of ``GOOGLE_APPLICATION_CREDENTIALS``, gcloud's own, a machine's identity."""
        if not asked and not (_is_told(environment) and is_there("google.auth")):
            return None
        return await asyncio.to_thread(_made, host)

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        if not namespace:
            if self.registry.host.endswith(".pkg.dev"):
                raise Invalid(
                    f"{self.registry.host} does not list all there is; name a project and a repository, as in "
                    f"{self.registry.host}/PROJECT/REPOSITORY"
                )
            async for name in self.registry.repositories():
                yield name
            return
        waiting, count = [namespace], 0
        while waiting:
            name = waiting.pop()
            below: set[str] = set()
            filled = False
            async for page in self._listed(name):
                below.update(f"{name}/{one}" for one in answers.listed(page, "child") if isinstance(one, str) and one)
                filled |= bool(page.get("manifest"))
            if filled:
                yield name
            count += len(below)
            if count > _FEW:
                raise Invalid(f"there are more than {_FEW:,} repositories below {namespace}; name a part of them")
            waiting += sorted(below, reverse=True)

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """By name: below the project (and repository) that ``text`` begins with, where it has a slash."""
        namespace, slash, word = text.rpartition("/")
        if not slash:
            return await super().search(text, limit)
        found: list[dict[str, Any]] = []
        async for name in self.repositories(namespace):
            if word.lower() in name.removeprefix(namespace) and inside(name, namespace):
                found.append({"name": name})
            if len(found) >= limit:
                break
        return found

    async def delete_manifest(self, repository: str, digest: str) -> None:
        tags: list[str] = []
        async for page in self._listed(repository):
            manifests = page.get("manifest")
            own = manifests.get(digest) if isinstance(manifests, dict) else None
            tags += [tag for tag in answers.listed(own, "tag") if isinstance(tag, str) and is_tag(tag)]
        for tag in tags:
            await self.registry.delete(repository, tag)
        await self.registry.delete(repository, digest)

    def _listed(self, name: str) -> AsyncGenerator[dict[str, Any]]:
        return self.registry.pages(f"/v2/{name}/tags/list", pull(name), f"what is in {name}")


def _is_told(environment: Mapping[str, str]) -> bool:
    """Whether a credential is named or kept here; a machine's own would be looked for over the network."""
    if environment.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return True
    home = environment.get("HOME") or ""
    folder = environment.get("CLOUDSDK_CONFIG") or (f"{home}/.config/gcloud" if home else "")
    return bool(folder) and Path(folder, "application_default_credentials.json").is_file()


def _made(host: str) -> Credential:
    auth, exceptions = library("google.auth", "gcs"), library("google.auth.exceptions", "gcs")
    requests = library("google.auth.transport.requests", "gcs")
    try:
        source, _ = auth.default(scopes=[_SCOPE])
        with library("requests", "gcs").Session() as web:
            web.verify = os.environ.get("SSL_CERT_FILE") or True  # whom all of this program trusts
            source.refresh(requests.Request(web))
    except (exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise CredentialsError(f"Google gives no token for {host}: {str(error)[:300]}") from None
    ends = source.expiry.replace(tzinfo=UTC).timestamp()
    return Credential(USER, source.token, until=ends)
