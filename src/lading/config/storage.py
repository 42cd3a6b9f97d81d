"""``storage``: where the bytes lie, and what may be done to them."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import SecretStr, model_validator

from lading.config.fields import (
    Anything,
    Before,
    Duration,
    Flag,
    Secret,
    Section,
    Size,
    Text,
    Whole,
    between,
    group,
    instead_of_zero,
    lasting,
    natural,
    one_of,
    setting,
    sized,
)

DRIVERS = ("filesystem", "inmemory", "s3", "gcs", "azure", "oss", "swift")
"""Every driver registry:2 or 3 ever had; one of them must be named."""

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


_PART = sized(5 * 2**20, 5 * 2**30)


class S3(Section):
    """registry:2's ``s3`` driver; what is not given in keys comes from where Amazon's tools look for it."""

    go_map: ClassVar[bool] = True

    bucket: Text = setting("", "The bucket. It must be there.")
    region: Text = setting("", "Its region. Required unless regionendpoint is set.")
    regionendpoint: Text = setting(
        "", "The address of another S3-compatible server, as https://minio.example.com:9000."
    )
    redirectendpoint: Text = setting(
        "", "The address under which clients reach that server, where it is another one; for redirects."
    )
    forcepathstyle: Flag | None = setting(
        None, "Name the bucket in the path and not in the host. Absent: where regionendpoint is set."
    )
    accesskey: Secret = setting(
        SecretStr(""),
        "The access key. Absent: the environment, shared files, or the role of the machine, the task or the service "
        "account.",
    )
    secretkey: Secret = setting(SecretStr(""), "Its secret.")
    sessiontoken: Secret = setting(SecretStr(""), "The token that goes with temporary keys.")
    rootdirectory: Text = setting("", "A prefix of every key; blobs below it in registry:2's layout.")
    chunksize: Annotated[Size, _PART] = setting(
        10 * 2**20, "How large a part of an upload is. Uploads beyond 2,000 parts have larger ones."
    )
    multipartcopychunksize: Annotated[Size, _PART] = setting(32 * 2**20, "How large the parts of a copy are.")
    multipartcopymaxconcurrency: Annotated[Whole, between(1, 1000)] = setting(
        100, "How many parts of a copy are copied at once."
    )
    multipartcopythresholdsize: Annotated[Size, _PART] = setting(
        32 * 2**20, "How large a blob is that is copied by parts."
    )
    encrypt: Flag = setting(False, "Ask the store to encrypt what it keeps: AES256, or by keyid.")
    keyid: Text = setting("", "The KMS key to encrypt with; needs encrypt.")
    storageclass: Annotated[
        Text,
        one_of(
            "STANDARD", "NONE", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "OUTPOSTS",
            "GLACIER_IR",
        ),
    ] = setting("STANDARD", "The storage class. STANDARD and NONE name none, which is the bucket's default.")  # fmt: skip
    objectacl: Annotated[
        Text,
        one_of(
            "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
            "bucket-owner-full-control",
        ),
    ] = setting("private", "The canned ACL of objects. private names none.")  # fmt: skip
    secure: Flag = setting(True, "Speak TLS where regionendpoint does not begin with http:// or https://.")
    skipverify: Flag = setting(False, "Do not check the server's certificate.")
    accelerate: Flag = setting(False, "Use Amazon's transfer acceleration.")
    usedualstack: Flag = setting(False, "Use Amazon's addresses for IPv6 too.")
    usefipsendpoint: Flag = setting(False, "Use Amazon's FIPS addresses.")
    useragent: Text = setting("", "Added to the client's name.")
    v4auth: Flag = setting(True, "Sign by version 4, the only one there is: false is refused.")
    loglevel: Anything = setting(
        "off", "What Amazon's Go SDK logs.", no_effect="that SDK is not used; failures of the store are in Lading's log"
    )


def _key_file(given: Any) -> Any:
    """What a key file of Google's holds, as a map or as text."""
    value = natural(given)
    return json.dumps(value) if isinstance(value, Mapping) else value


class GCS(Section):
    """registry:2's ``gcs`` driver; without a key, Google's own rules find who this machine is."""

    go_map: ClassVar[bool] = True

    bucket: Text = setting("", "The bucket. It must be there.")
    keyfile: Text = setting(
        "",
        "A service account's key file. Absent: GOOGLE_APPLICATION_CREDENTIALS, or the role of the machine or the "
        "workload.",
    )
    credentials: Annotated[Secret, Before(_key_file)] = setting(
        SecretStr(""), "What such a file holds, as a map or as JSON; in place of keyfile."
    )
    rootdirectory: Text = setting("", "A prefix of every key; blobs below it in registry:2's layout.")
    chunksize: Annotated[Size, sized(5 * 2**20, 30 * 2**20)] = setting(
        16 * 2**20, "How large a part of an upload is. Uploads beyond 2,000 parts have larger ones."
    )
    maxconcurrency: Annotated[Whole, between(1, 1000)] = setting(
        50, "How many calls that put parts together run at once."
    )
    endpoint: Text = setting(
        "https://storage.googleapis.com", "The address of the service, for private endpoints; redirects use it too."
    )
    iamendpoint: Text = setting(
        "https://iamcredentials.googleapis.com",
        "The address of the service that signs URLs for an identity without a key of its own.",
    )


class AzureCredentials(Section):
    go_map: ClassVar[bool] = True

    type: Annotated[Text, one_of("shared_key", "client_secret", "default_credentials", "default")] = setting(
        "shared_key",
        "Who asks: shared_key (accountkey), client_secret (the three keys below), or default_credentials: what the "
        "environment, a managed identity or a workload identity says (default is short for it).",
    )
    clientid: Text = setting("", "The application's id, for client_secret.")
    tenantid: Text = setting("", "The directory's id, for client_secret.")
    secret: Secret = setting(SecretStr(""), "The application's secret, for client_secret.")


class Azure(Section):
    """registry:2's ``azure`` driver."""

    go_map: ClassVar[bool] = True

    accountname: Text = setting("", "The storage account.")
    accountkey: Secret = setting(SecretStr(""), "Its key, in base64; unless credentials says otherwise.")
    container: Text = setting("", "The container. It must be there.")
    realm: Text = setting("core.windows.net", "The domain of the cloud, as core.chinacloudapi.cn.")
    serviceurl: Text = setting("", "The address of the service, where it is not https://<accountname>.blob.<realm>.")
    rootdirectory: Text = setting("", "A prefix of every key; blobs below it in registry:2's layout.")
    credentials: AzureCredentials = group("Who asks, where it is not the account's key.")
    chunksize: Annotated[Size, sized(5 * 2**20, 30 * 2**20)] = setting(
        16 * 2**20, "How large a block of an upload is. Uploads beyond 2,000 blocks have larger ones."
    )
    skipverify: Flag = setting(False, "Do not check the server's certificate.")
    max_retries: Anything = setting(
        5, "How often Azure's Go SDK tries again.", no_effect="Lading tries again four times, within a few seconds"
    )
    retry_delay: Anything = setting(
        "100ms", "How long that SDK waits.", no_effect="Lading tries again four times, within a few seconds"
    )

    @property
    def shared(self) -> bool:
        """Whether requests are signed by the account's key."""
        return self.credentials.type == "shared_key"


class Delete(Section):
    go_map: ClassVar[bool] = True

    enabled: Flag = setting(False, "Allow manifests, tags and blobs to be deleted over the API.")


class Redirect(Section):
    go_map: ClassVar[bool] = True

    disable: Flag = setting(
        False,
        "Hand out blobs of an object store, where clients would else be sent to the store for them.",
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

    uploadpurging: UploadPurging = group("Removal of abandoned uploads.")
    readonly: ReadOnly = group("Read-only mode.")


class Storage(Section):
    """Exactly one driver; :attr:`driver` names it. ``storage: inmemory`` is short for ``storage: {inmemory: {}}``."""

    go_map: ClassVar[bool] = True
    go_word: ClassVar[bool] = True

    filesystem: Filesystem | None = setting(None, "Blobs as files in a directory.")
    inmemory: InMemory | None = setting(
        None, "Blobs in memory, gone when the process ends; the index is temporary too."
    )
    s3: S3 | None = setting(None, "Blobs in Amazon S3 or what speaks like it. Needs database.url.")
    gcs: GCS | None = setting(None, "Blobs in Google Cloud Storage. Needs database.url.")
    azure: Azure | None = setting(None, "Blobs in Azure Blob Storage. Needs database.url.")
    oss: Anything = setting(None, "Blobs in Alibaba's object store.", refused=_GONE)
    swift: Anything = setting(None, "Blobs in OpenStack Swift.", refused=_GONE)
    delete: Delete = group("Deletion.")
    redirect: Redirect = group("Redirects to the store.")
    cache: Cache = group("registry:2's cache of blob sizes.")
    tag: Tag = group("registry:2's lookup of tags.")
    maintenance: Maintenance = group("Upkeep.")

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
    def bucket(self) -> Literal["s3", "gcs", "azure"] | None:
        """The driver of an object store, if that is what is used."""
        if self.s3 is not None:
            return "s3"
        if self.gcs is not None:
            return "gcs"
        return "azure" if self.azure is not None else None

    @property
    def driver(self) -> Literal["filesystem", "inmemory", "s3", "gcs", "azure"]:
        """The driver in use."""
        if self.bucket is not None:
            return self.bucket
        return "inmemory" if self.inmemory is not None else "filesystem"
