"""The media types a registry must tell apart, and what kind of manifest each is (image spec, "Media Types")."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_PLUGIN = "application/vnd.docker.plugin.v1+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCTET_STREAM = "application/octet-stream"

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = IMAGES | INDEXES
RUNNABLE = frozenset({OCI_CONFIG, DOCKER_CONFIG})
"""Types of a configuration that engines run."""
SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})

_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")

_BLOBS = (
    *_LAYERS,
    "application/vnd.oci.image.config.",
    "application/vnd.docker.container.image.",
    "application/vnd.buildkit.cacheconfig.",
)

_FOREIGN = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)


def is_blob(media_type: str) -> bool:
    """Whether this is surely no manifest, but what an image is made of; an index may list such, as a build's cache does."""
    return media_type.startswith(_BLOBS)


def is_layer(media_type: str) -> bool:
    """Whether this is a layer of a file system."""
    return media_type.startswith(_LAYERS)


def is_foreign(media_type: str) -> bool:
    """Whether a layer of this type lies elsewhere, so that the registry need not hold it."""
    return media_type in _FOREIGN or media_type.startswith("application/vnd.oci.image.layer.nondistributable.")
