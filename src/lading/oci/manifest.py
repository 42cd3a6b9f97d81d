"""Manifests: parse, check, and say what each refers to (image spec, "Image Manifest", "Image Index").

:func:`parse` takes the bytes as they came and keeps them: a manifest is never written anew, since its digest is that
of its bytes. What a registry must know of a manifest is little: its media type, what it refers to, its subject, and
what a referrer's descriptor repeats (artifact type, annotations).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lading.errors import DigestInvalid, ManifestInvalid
from lading.oci import mediatypes
from lading.oci.digest import CANONICAL, Digest

MAX_DEPTH = 32
"""How deep a manifest's JSON may be nested; the specification's own fields need 5."""

MAX_REFERENCES = 20_000
"""Most descriptors in one manifest; 4 MiB of JSON holds about as many."""


class Platform(msgspec.Struct, frozen=True, rename={"os_version": "os.version", "os_features": "os.features"}):
    """Where an image runs; empty where the manifest does not say."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: list[str] | None = None


class Descriptor(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a manifest says of content it refers to (image spec, "Content Descriptors"); ``size`` in bytes."""

    media_type: str = ""
    digest: str = ""
    size: int = -1
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    artifact_type: str | None = None
    platform: Platform | None = None


class _Document(msgspec.Struct, rename="camel", kw_only=True):
    schema_version: int = 0
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None
    # docker schema 1, told apart only to refuse it by name
    fs_layers: Any = None
    signatures: Any = None


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_decoder = msgspec.json.Decoder(_Document)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that was parsed and found sound.

    ``config`` is the config descriptor of an image; ``layers`` its layers in order; ``children`` the manifests of an
    index. What BuildKit exports as a cache is an index that lists blobs: they are ``layers`` here. ``artifact_type`` follows the rule of the referrers API: an image without one has its config's media type.
    """

    digest: Digest
    media_type: str
    raw: bytes
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str
    annotations: dict[str, str]

    @property
    def size(self) -> int:
        """Length of the bytes."""
        return len(self.raw)

    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers that the registry must hold: all but foreign layers, which lie elsewhere."""
        own = tuple(layer for layer in self.layers if not mediatypes.is_foreign(layer.media_type))
        return (self.config, *own) if self.config else own

    def foreign(self) -> tuple[Descriptor, ...]:
        """Layers that may lie elsewhere, at the URLs they name; some registries hold them all the same."""
        return tuple(layer for layer in self.layers if mediatypes.is_foreign(layer.media_type))

    def urls(self) -> tuple[str, ...]:
        """Every URL its descriptors name."""
        return tuple(url for d in (*self.layers, *self.children) for url in d.urls or ())


def parse(raw: bytes, content_type: str, algorithm: str = CANONICAL, most_depth: int = MAX_DEPTH) -> Manifest:
    """Read a manifest as a client sent it.

    ``content_type`` may be empty, then the bytes must say what they are; ``algorithm`` is that of the digest it will
    be known by. Raises :class:`ManifestInvalid` saying what is wrong.
    """
    document = _decode(raw)
    _check_depth(raw, most_depth)
    media_type = _media_type(document, content_type.partition(";")[0].strip().lower())
    if document.schema_version != 2:
        raise ManifestInvalid(f"schemaVersion is {document.schema_version}; a manifest of this kind has 2")
    index = media_type in mediatypes.INDEXES
    _check_shape(document, index)
    layers, listed = tuple(document.layers or ()), tuple(document.manifests or ())
    if len(layers) + len(listed) > MAX_REFERENCES:
        raise ManifestInvalid(f"a manifest may refer to at most {MAX_REFERENCES} others")
    for field, descriptors in (("layers", layers), ("manifests", listed)):
        for place, descriptor in enumerate(descriptors):
            _check(descriptor, f"{field}[{place}]")
    if document.config:
        _check(document.config, "config")
    return Manifest(
        digest=Digest.of(raw, algorithm),
        media_type=media_type,
        raw=raw,
        config=document.config,
        layers=(*layers, *(one for one in listed if mediatypes.is_blob(one.media_type))),
        children=tuple(one for one in listed if not mediatypes.is_blob(one.media_type)),
        subject=_check(document.subject, "subject") if document.subject else None,
        artifact_type=document.artifact_type or ("" if index or not document.config else document.config.media_type),
        annotations=document.annotations or {},
    )


def _decode(raw: bytes) -> _Document:
    try:
        return _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise ManifestInvalid(f"not a manifest: {error}") from None
    except msgspec.DecodeError as error:
        raise ManifestInvalid(f"not JSON: {error}") from None
    except UnicodeDecodeError:
        raise ManifestInvalid("not JSON: the bytes are not UTF-8") from None
    except RecursionError:
        raise ManifestInvalid("the JSON is nested too deep for a manifest") from None


def _check_depth(raw: bytes, most: int) -> None:
    # cheap where it matters: what opens fewer brackets than that cannot be nested deeper
    if raw.count(b"[") + raw.count(b"{") <= most:
        return
    depth = deepest = 0
    for bracket in _STRINGS.sub(b"", raw).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > most:
        raise ManifestInvalid(f"the JSON is nested {deepest} deep; at most {most} is allowed in a manifest")


def _media_type(document: _Document, content_type: str) -> str:
    stated = document.media_type or ""
    if content_type in ("", "application/json", mediatypes.OCTET_STREAM):
        content_type = stated or _guess(document)
    if content_type in mediatypes.SCHEMA1 or document.fs_layers is not None:
        raise ManifestInvalid(
            "docker manifest schema 1 is not supported: the image must be pushed once more with Docker 1.10 or later, which "
            "writes schema 2, or be converted by skopeo copy --format v2s2"
        )
    if content_type not in mediatypes.MANIFESTS:
        raise ManifestInvalid(
            f"{content_type[:160]!r} is not the type of a manifest this registry stores; it stores "
            + ", ".join(sorted(mediatypes.MANIFESTS))
        )
    if stated and stated != content_type:
        raise ManifestInvalid(f"mediaType is {stated[:160]!r}, but the Content-Type of the request is {content_type!r}")
    return content_type


def _guess(document: _Document) -> str:
    return mediatypes.OCI_INDEX if document.manifests is not None else mediatypes.OCI_MANIFEST


def _check_shape(document: _Document, index: bool) -> None:
    # bytes that can be read both as an image and as an index would mean different things to different clients; see
    # CVE-2021-41190
    if index and (document.layers is not None or document.config is not None):
        raise ManifestInvalid("an index has manifests, and neither config nor layers")
    if not index and document.manifests is not None:
        raise ManifestInvalid("an image manifest has config and layers, and no manifests")
    if index and document.manifests is None:
        raise ManifestInvalid("an index needs manifests (an empty list will do)")
    if not index and document.config is None:
        raise ManifestInvalid("an image manifest needs a config")


def _check(descriptor: Descriptor, where: str) -> Digest:
    if not 0 <= descriptor.size < 1 << 63:
        raise ManifestInvalid(f"{where}.size is missing, negative or too large")
    if not descriptor.media_type:
        raise ManifestInvalid(f"{where}.mediaType is missing")
    try:
        return Digest.parse(descriptor.digest)
    except DigestInvalid as error:
        raise ManifestInvalid(f"{where}.digest: {error}") from None
