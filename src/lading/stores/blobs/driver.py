"""The store that the configuration names: the only place that asks which."""

from __future__ import annotations

from pathlib import Path

from lading.config.storage import Storage
from lading.stores.blobs.base import BlobStore
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.blobs.objects import ObjectClient
from lading.stores.blobs.remote import RemoteStore


def open_store(storage: Storage, root: Path | None) -> BlobStore:
    """The store; ``root`` is the directory of one that keeps files."""
    opened = _bucket(storage)
    if opened is None:
        assert root is not None
        return FilesystemStore(root)
    objects, prefix, part = opened
    return RemoteStore(objects, prefix, where=where(storage, root), part=part, redirects=not storage.redirect.disable)


def _bucket(storage: Storage) -> tuple[ObjectClient, str, int] | None:
    """An object store's client, the prefix of its keys, and how large parts are; each needs libraries of an extra."""
    if (s3 := storage.s3) is not None:
        from lading.stores.blobs.s3 import S3Client  # noqa: PLC0415

        return S3Client(s3), s3.rootdirectory, s3.chunksize
    if (gcs := storage.gcs) is not None:
        from lading.stores.blobs.gcs import GCSClient  # noqa: PLC0415

        return GCSClient(gcs), gcs.rootdirectory, gcs.chunksize
    if (azure := storage.azure) is not None:
        from lading.stores.blobs.azure import AzureClient  # noqa: PLC0415

        return AzureClient(azure), azure.rootdirectory, azure.chunksize
    return None


def where(storage: Storage, root: Path | None) -> str:
    """The store as people call it."""
    if (s3 := storage.s3) is not None:
        return f"s3://{_path(s3.bucket, s3.rootdirectory)}" + (f" at {s3.regionendpoint}" if s3.regionendpoint else "")
    if (gcs := storage.gcs) is not None:
        return f"gs://{_path(gcs.bucket, gcs.rootdirectory)}"
    if (azure := storage.azure) is not None:
        return f"azure://{_path(azure.accountname, azure.container, azure.rootdirectory)}"
    return str(root) if root is not None else "memory: everything is gone when the process ends"


def _path(*parts: str) -> str:
    return "/".join(part.strip("/") for part in parts if part.strip("/"))
