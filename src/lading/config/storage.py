"""``storage``: where the bytes lie, and what may be done to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import model_validator

from lading.config.fields import Anything, Duration, Flag, Section, Text, group, instead_of_zero, lasting, setting

DRIVERS = ("filesystem", "inmemory", "s3", "gcs", "azure", "oss", "swift")
"""Every driver registry:2 or 3 ever had; one of them must be named."""

_LATER = "object stores come with a later version of Lading; use storage.filesystem"
_GONE = "registry 3 has removed this driver and Lading does not have it; use storage.filesystem"


class Filesystem(Section):
    go_map: ClassVar[bool] = True

    rootdirectory: Text = setting(
        "/var/lib/registry", "The directory everything lies under; blobs in registry:2's layout."
    )
    maxthreads: Anything = setting(
        100,
        "How many file operations registry:2 runs at once.",
        no_effect="Lading bounds its file operations by itself",
    )


class InMemory(Section):
    """Takes no keys."""

    go_map: ClassVar[bool] = True


class Delete(Section):
    go_map: ClassVar[bool] = True

    enabled: Flag = setting(False, "Allow manifests, tags and blobs to be deleted over the API.")


class Redirect(Section):
    go_map: ClassVar[bool] = True

    disable: Flag = setting(
        False,
        "Do not send clients to the object store for blobs.",
        no_effect="the filesystem and inmemory drivers have nowhere to redirect to",
    )


class Cache(Section):
    go_map: ClassVar[bool] = True

    blobdescriptor: Text = setting(
        "",
        "Where registry:2 caches the sizes of blobs: inmemory or redis.",
        no_effect="Lading's index answers what this cache answered",
    )
    blobdescriptorsize: Anything = setting(
        10000, "How many sizes registry:2 caches.", no_effect="Lading's index answers what this cache answered"
    )
    layerinfo: Text = setting(
        "", "The old name of blobdescriptor.", no_effect="Lading's index answers what this cache answered"
    )


class Tag(Section):
    go_map: ClassVar[bool] = True

    concurrencylimit: Anything = setting(
        0,
        "How many tags registry:2 reads at once when it deletes a manifest.",
        no_effect="Lading's index finds the tags of a manifest in one look",
    )


class UploadPurging(Section):
    go_map: ClassVar[bool] = True

    enabled: Flag = setting(True, "Remove uploads that nobody finished.")
    age: Annotated[Duration, lasting("1s", "87600h")] = setting(
        timedelta(days=7), "How long an upload may lie still before it is removed."
    )
    interval: Annotated[Duration, lasting("1s", "8760h"), instead_of_zero(timedelta(days=1))] = setting(
        timedelta(days=1), "How often to look."
    )
    dryrun: Flag = setting(False, "Only log what would be removed.")


class ReadOnly(Section):
    go_map: ClassVar[bool] = True

    enabled: Flag = setting(False, "Refuse everything that writes.")


class Maintenance(Section):
    go_map: ClassVar[bool] = True

    uploadpurging: UploadPurging = group(UploadPurging, "Removal of abandoned uploads.")
    readonly: ReadOnly = group(ReadOnly, "Read-only mode.")


class Storage(Section):
    """Exactly one driver; :attr:`driver` names it. ``storage: inmemory`` is short for ``storage: {inmemory: {}}``."""

    go_map: ClassVar[bool] = True
    go_word: ClassVar[bool] = True

    filesystem: Filesystem | None = setting(None, "Blobs as files in a directory.")
    inmemory: InMemory | None = setting(
        None, "Blobs in memory, gone when the process ends; the index is temporary too."
    )
    s3: Anything = setting(None, "Blobs in Amazon S3 or what speaks like it.", refused=_LATER)
    gcs: Anything = setting(None, "Blobs in Google Cloud Storage.", refused=_LATER)
    azure: Anything = setting(None, "Blobs in Azure Blob Storage.", refused=_LATER)
    oss: Anything = setting(None, "Blobs in Alibaba's object store.", refused=_GONE)
    swift: Anything = setting(None, "Blobs in OpenStack Swift.", refused=_GONE)
    delete: Delete = group(Delete, "Deletion.")
    redirect: Redirect = group(Redirect, "Redirects to the store.")
    cache: Cache = group(Cache, "registry:2's cache of blob sizes.")
    tag: Tag = group(Tag, "registry:2's lookup of tags.")
    maintenance: Maintenance = group(Maintenance, "Upkeep.")

    @model_validator(mode="before")
    @classmethod
    def _drivers(cls, given: Any) -> Any:
        """A word is the driver's name; a driver given without keys (``inmemory:``) is given all the same."""
        if isinstance(given, str):
            return {str(given): {}}
        if isinstance(given, Mapping):
            return {name: {} if value is None and name in DRIVERS else value for name, value in given.items()}
        return given

    @property
    def drivers(self) -> tuple[str, ...]:
        """The drivers that were named, one when the configuration is sound."""
        return tuple(name for name in DRIVERS if name in self.model_fields_set and getattr(self, name) is not None)

    @property
    def driver(self) -> Literal["filesystem", "inmemory"]:
        """The driver in use."""
        return "inmemory" if self.inmemory is not None else "filesystem"
