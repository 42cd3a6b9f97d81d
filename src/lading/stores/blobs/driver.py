"""The store that the configuration names: the only place that asks which."""

from __future__ import annotations

from pathlib import Path

from lading.config.storage import Storage
from lading.stores.blobs.base import BlobStore
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.blobs.remote import RemoteStore


def open_store(storage: Storage, root: Path | None) -> BlobStore:
    """The store; ``root`` is the directory of one that keeps files."""
    if storage.s3 is None:
        assert root is not None
        return FilesystemStore(root)
    from lading.stores.blobs.s3 import S3Client  # noqa: PLC0415 - its library is an extra

    s3 = storage.s3
    return RemoteStore(
        S3Client(s3),
        s3.rootdirectory,
        where=where(storage, root),
        part=s3.chunksize,
        redirects=not storage.redirect.disable,
    )


def where(storage: Storage, root: Path | None) -> str:
    """The store as people call it."""
    if storage.s3 is not None:
        s3 = storage.s3
        path = "/".join(part for part in (s3.bucket, s3.rootdirectory.strip("/")) if part)
        return f"s3://{path}" + (f" at {s3.regionendpoint}" if s3.regionendpoint else "")
    return str(root) if root is not None else "memory: everything is gone when the process ends"
