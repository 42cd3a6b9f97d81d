"""Which adapter a registry needs, told by its name or by how it asks for a login."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping

from lading.remotes.adapters.base import Adapter
from lading.remotes.credentials import Credential
from lading.remotes.http import HttpRegistry

# a login goes to such a host by itself: nobody else may own one that fits
_AWS = "|".join(
    name.replace(".", r"\.")
    for name in (
        "amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "on.aws", "on.amazonwebservices.com.cn",
        "c2s.ic.gov", "sc2s.sgov.gov", "cloud.adc-e.uk", "csp.hci.ic.gov",
    )
)  # fmt: skip
_VENDORS: dict[str, str] = {
    r"docker\.io": "dockerhub:DockerHub",
    r"ghcr\.io": "ghcr:GHCR",
    r"[a-z0-9-]+\.azurecr\.(?:io|cn|us)": "acr:ACR",
    rf"\d{{12}}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.(?:{_AWS})|public\.ecr\.aws": "ecr:ECR",
    r"(?:[a-z]+\.)?gcr\.io|(?:[a-z0-9-]+-)?docker\.pkg\.dev": "gcr:GCR",
    r"quay\.io": "quay:Quay",
    r"registry\.gitlab\.com": "gitlab:GitLab",
}
"""Where the adapter of a host is, by a pattern for the whole host."""


_ANYWHERE = ("harbor:Harbor", "lading:Lading", "gitlab:GitLab", "quay:Quay")
"""The adapters of what anybody may run: such a registry is known by how it asks for a login."""


async def adapter(registry: HttpRegistry) -> Adapter:
    """The adapter for a registry, which is asked where its name says nothing."""
    if place := _place(registry.host):
        return _at(place)(registry)
    challenge = await registry.session.challenge()
    for place in _ANYWHERE if challenge else ():
        assert challenge is not None
        if (kind := _at(place)).is_it(challenge, registry.host):
            return kind(registry)
    return Adapter(registry)


async def ambient(host: str, environment: Mapping[str, str], *, asked: bool = False) -> Credential | None:
    """The login that this machine or job has for a host; see :meth:`Adapter.ambient`."""
    place = _place(host) or ("gitlab:GitLab" if environment.get("CI_REGISTRY") == host else "")
    return await (_at(place) if place else Adapter).ambient(host, environment, asked=asked)


def vendor(host: str) -> str:
    """Whose registry a host is, by its name alone: the name of the adapter's module, or nothing."""
    return _place(host).partition(":")[0]


def _place(host: str) -> str:
    for pattern, place in _VENDORS.items():
        if re.fullmatch(pattern, host, re.ASCII | re.IGNORECASE):
            return place
    return ""


def _at(place: str) -> type[Adapter]:
    module, _, name = place.partition(":")
    found: type[Adapter] = getattr(importlib.import_module(f"lading.remotes.adapters.{module}"), name)
    return found
