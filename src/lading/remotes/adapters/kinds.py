"""Kinds of registries that are told by name, by the one Harbor has for each; what a login of theirs is, and who speaks to them."""

from __future__ import annotations

from collections.abc import Mapping

from lading.remotes.adapters import ecr
from lading.remotes.adapters.base import Adapter
from lading.remotes.adapters.vendors import adapter, vendor
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.http import HttpRegistry

HUB, _ECR = "docker-hub", "aws-ecr"
_HUB_HOSTS = {"hub.docker.com", "docker.io", "index.docker.io", "registry-1.docker.io"}
_HOSTED = {
    _ECR: ("ecr", "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com"),
    "azure-acr": ("acr", "https://NAME.azurecr.io"),
    "google-gcr": ("gcr", "https://europe-docker.pkg.dev"),
    "github-ghcr": ("ghcr", "https://ghcr.io"),
}
"""What is at its vendor's alone: the adapter, and how its address reads."""
VENDORS = (HUB, *_HOSTED, "quay", "gitlab")


def example(kind: str, host: str) -> str:
    """How the address of such a registry reads, where this host is none of that kind; else nothing."""
    if kind == HUB:
        return "" if host in _HUB_HOSTS else "https://hub.docker.com"
    module, reads = _HOSTED.get(kind, ("", ""))
    return reads if module and vendor(host) != module else ""


def keyring(kind: str, username: str, password: str) -> Keyring:
    """One login, and nothing of what this machine's own files say."""
    return _Renewed(username, password) if kind == _ECR else _Login(Credential(username, password))


async def adapter_of(kind: str, registry: HttpRegistry, username: str, password: str) -> Adapter:
    """Who speaks to a registry of that kind."""
    return ecr.ECR(registry, username, password) if kind == _ECR else await adapter(registry)


class _Login(Keyring):
    def __init__(self, credential: Credential) -> None:
        super().__init__({})
        self._credential = credential

    async def find(self, host: str, repository: str = "") -> Credential:  # noqa: ARG002 - one login for all of it
        return self._credential


class _Renewed(Keyring):
    """Amazon's, which an access key makes for twelve hours; without a key, the role this machine has there."""

    def __init__(self, key: str, secret: str) -> None:
        super().__init__({}, ambient=self._make)
        self._keys = key, secret

    async def find(self, host: str, repository: str = "") -> Credential:  # noqa: ARG002 - one login for all of it
        async with self._asking:
            return await self._made(host) or Credential()

    async def _make(self, host: str, environment: Mapping[str, str]) -> Credential:  # noqa: ARG002 - what a keyring asks
        return await ecr.made(host, *self._keys)
