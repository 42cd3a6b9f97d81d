"""Amazon's registries: ECR (ACCOUNT.dkr.ecr.REGION.amazonaws.com) and ECR Public (public.ecr.aws/ALIAS/NAME).

The password is a token that ``GetAuthorizationToken`` gives for twelve hours, to whomever AWS knows. A repository must be
there before a push; repositories are listed and made, and images deleted, by ECR's API (docs.aws.amazon.com/AmazonECR).
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from lading.errors import (
    BadAnswer,
    Conflict,
    CredentialsError,
    Denied,
    Invalid,
    LadingError,
    ManifestUnknown,
    RepositoryUnknown,
    TooMany,
    Unreachable,
)
from lading.remotes.adapters.base import Adapter, inside
from lading.remotes.adapters.extras import is_there, library
from lading.remotes.credentials import Credential
from lading.remotes.http import HttpRegistry

PUBLIC = "public.ecr.aws"
_PRIVATE = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\..+", re.ASCII)
_SIGNS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_PATIENCE = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 4, "mode": "standard"}}
_SAID: dict[str, type[LadingError]] = {
    "RepositoryNotFoundException": RepositoryUnknown,
    "ImageNotFound": ManifestUnknown,
    "ImageNotFoundException": ManifestUnknown,
    "ImageReferencedByManifestList": Conflict,
    "AccessDeniedException": Denied,
    "InvalidParameterException": Invalid,
}


class ECR(Adapter):
    """A registry of an AWS account, or the public one; its API is asked with an access key, or with what botocore finds."""

    makes = "the repository"

    def __init__(self, registry: HttpRegistry, key: str = "", secret: str = "") -> None:
        super().__init__(registry)
        self._keys = key, secret
        self._client: Any = None

    @staticmethod
    async def ambient(host: str, environment: Mapping[str, str], *, asked: bool) -> Credential | None:
        """What AWS gives to a key, a profile, a role of a job's or a machine's."""
        if asked:
            return await made(host)
        if not is_there("botocore") or (host == PUBLIC and not _is_told(environment)):
            return None
        try:
            return await made(host)
        except CredentialsError:
            if host != PUBLIC and _is_told(environment):
                raise
            return None  # the public one is there for everybody, too

    async def repositories(self, namespace: str = "") -> AsyncGenerator[str]:
        public = self.registry.host == PUBLIC
        arguments = {} if public else {"registryId": _account(self.registry.host)}
        while True:
            page = await self._call("describe_repositories", **arguments)
            for one in page.get("repositories", ()):
                name = one["repositoryUri"].partition("/")[2] if public else one["repositoryName"]
                if not namespace or inside(name, namespace):
                    yield name
            if not page.get("nextToken"):
                return
            arguments["nextToken"] = page["nextToken"]

    async def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for name in self.repositories():
            if text.lower() in name and len(found) < limit:
                found.append({"name": name})
        return found

    async def prepare(self, repository: str) -> bool:
        try:
            await self._call("describe_repositories", repositoryNames=[self._name(repository)])
            return False
        except RepositoryUnknown:
            await self._call("create_repository", repositoryName=self._name(repository))
            return True

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self._delete(repository, {"imageTag": tag})

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self._delete(repository, {"imageDigest": digest})

    async def _delete(self, repository: str, image: dict[str, str]) -> None:
        answer = await self._call("batch_delete_image", repositoryName=self._name(repository), imageIds=[image])
        for failure in answer.get("failures", ()):
            code = str(failure.get("failureCode"))
            raise _SAID.get(code, Invalid)(f"{self.registry.host}: {failure.get('failureReason') or code}")

    def _name(self, repository: str) -> str:
        """What the API calls a repository: in the public registry its owner's alias is left out."""
        if self.registry.host != PUBLIC:
            return repository
        _, slash, name = repository.partition("/")
        if not slash:
            raise Invalid(f"{PUBLIC}/{repository}: a repository there is ALIAS/NAME")
        return name

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        host = self.registry.host
        if self._client is None:
            self._client = await asyncio.to_thread(_client, host, *self._keys)
        answer: dict[str, Any] = await asyncio.to_thread(_told, host, getattr(self._client, operation), **arguments)
        return answer


async def made(host: str, key: str = "", secret: str = "") -> Credential:
    """A login for twelve hours, by an access key, or else by whatever botocore finds here."""
    return await asyncio.to_thread(_made, host, key, secret)


def _made(host: str, key: str, secret: str) -> Credential:
    answer = _told(host, _client(host, key, secret).get_authorization_token)
    said = answer["authorizationData"]
    data = said[0] if isinstance(said, list) else said  # the public one gives one
    user, colon, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    if not colon:
        raise BadAnswer(f"AWS gives a token for {host} that is no user and password")
    return Credential(user, password, until=data["expiresAt"].timestamp())


def _client(host: str, key: str = "", secret: str = "") -> Any:
    """A client of the API which is beside the registry of a host."""
    exceptions = library("botocore.exceptions", "s3")
    found = _PRIVATE.fullmatch(host)
    service, region = ("ecr", found["region"]) if found else ("ecr-public", "us-east-1")
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret} if key else {}
    settings = {**_PATIENCE, "use_fips_endpoint": True} if found and found["fips"] else _PATIENCE
    config = library("botocore.config", "s3").Config(**settings)
    try:
        session = library("botocore.session", "s3").get_session()
        return session.create_client(service, region_name=region, config=config, **keys)
    except (exceptions.BotoCoreError, ValueError) as error:
        raise CredentialsError(f"AWS's settings here are of no use for {host}: {error}") from None


def _told(host: str, call: Any, **arguments: Any) -> dict[str, Any]:
    """What the API answers; its errors as ours."""
    exceptions = library("botocore.exceptions", "s3")
    try:
        answer: dict[str, Any] = call(**arguments)
        return answer
    except exceptions.ClientError as error:
        said = error.response.get("Error", {})
        code, words = str(said.get("Code", "")), str(said.get("Message", ""))[:300]
        if "Throttling" in code or code == "LimitExceededException":
            raise TooMany(f"AWS has had too many requests for {host}: {words}", retry_after=1) from None
        if code in _SAID:
            raise _SAID[code](f"{host}: {words or code}") from None
        raise CredentialsError(f"AWS refuses what was asked for {host} ({code}): {words}") from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError):
        raise CredentialsError(
            f"AWS's API for {host} wants a login, and there is none here: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or run where a role is given"
        ) from None
    except exceptions.BotoCoreError as error:
        raise Unreachable(f"cannot reach AWS's API for {host}: {str(error)[:300]}") from None


def _account(host: str) -> str:
    found = _PRIVATE.fullmatch(host)
    assert found is not None, "the table of hosts is that of this pattern"
    return found["account"]


def _is_told(environment: Mapping[str, str]) -> bool:
    """Whether a login for AWS is named or kept here; a machine's role would be looked for over the network."""
    if any(map(environment.get, _SIGNS)):
        return True
    home = environment.get("HOME") or ""
    file = environment.get("AWS_SHARED_CREDENTIALS_FILE") or (f"{home}/.aws/credentials" if home else "")
    return bool(file) and Path(file).is_file()
