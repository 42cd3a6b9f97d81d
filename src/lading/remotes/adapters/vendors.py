"""Which adapter a registry needs, told by its name."""

from __future__ import annotations

from lading.oci.reference import DEFAULT_HOST
from lading.remotes.adapters.base import Adapter
from lading.remotes.http import HttpRegistry


def adapter(registry: HttpRegistry) -> Adapter:
    """The adapter for a registry."""
    if registry.host == DEFAULT_HOST:
        from lading.remotes.adapters.dockerhub import DockerHub  # noqa: PLC0415 - only where it is needed

        return DockerHub(registry)
    return Adapter(registry)
