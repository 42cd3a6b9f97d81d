"""What the conformance tests push, and what must hold for every answer whatever it answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.http import Client
from tests.support.images import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
)
from tests.support.server import RegistryServer

ALGORITHMS = ("sha256", "sha512")
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCTETS = {"content-type": "application/octet-stream"}

SPECIFIED = frozenset(
    [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    ]
)
"""The codes of the distribution spec, "Error Codes"."""
INHERITED = frozenset(["TAG_INVALID", "RANGE_INVALID", "PAGINATION_NUMBER_INVALID", "UNAVAILABLE", "UNKNOWN"])
"""Codes that registry:2 has besides, and that clients know from there."""

Document = Mapping[str, Any]


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def describe(content: bytes, media_type: str, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    """The descriptor of these bytes."""
    return {"mediaType": media_type, "digest": digest_of(content, algorithm), "size": len(content), **more}


def unknown(seed: object = "nobody pushed this", algorithm: str = "sha256") -> str:
    """A well-formed digest of nothing that is stored."""
    return digest_of(f"absent {seed}".encode(), algorithm)


@dataclass(frozen=True)
class Pushed:
    """A manifest to be pushed: its exact bytes, its type, the algorithm it is to be known by."""

    data: bytes = field(repr=False)
    media_type: str
    algorithm: str = "sha256"

    @property
    def digest(self) -> str:
        return digest_of(self.data, self.algorithm)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return describe(self.data, self.media_type, self.algorithm, **more)


def manifest_of(document: Document, algorithm: str = "sha256", media_type: str = "") -> Pushed:
    """The manifest with this content; its type is the document's own unless another is given."""
    return Pushed(json.dumps(document, indent=2).encode(), media_type or document["mediaType"], algorithm)


def image_document(
    config: Document, layers: Sequence[Document], media_type: str = MANIFEST, **more: Any
) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": list(layers), **more}


def index_document(manifests: Sequence[Document], media_type: str = INDEX, **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests), **more}


def check_answer(response: httpx2.Response) -> None:
    """What holds for each answer: the API's version, the form of an error, warnings, no second content type."""
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert response.status_code < 500, f"{response.request.method} {response.request.url}: {response.status_code}"
    for warning in response.headers.get_list("warning"):
        assert re.fullmatch(r'299 - ".*"', warning)
    if response.status_code >= 400:
        check_error(response)


def check_error(response: httpx2.Response) -> None:
    """An error is ``{"errors": [{"code", "message", "detail"}]}``, with a code that clients know."""
    response.read()
    assert response.headers["content-type"] == "application/json"
    if response.request.method == "HEAD":
        return
    document = response.json()
    assert set(document) == {"errors"}
    assert document["errors"]
    for error in document["errors"]:
        assert set(error) <= {"code", "message", "detail"}
        assert error["code"] in SPECIFIED | INHERITED, error
        assert isinstance(error["message"], str)
        assert error["message"]


def codes(response: httpx2.Response) -> set[str]:
    """The codes of an error."""
    return {error["code"] for error in response.json()["errors"]}


def refused(response: httpx2.Response, status: int, code: str) -> None:
    """The answer is this error."""
    assert (response.status_code, codes(response)) == (status, {code}), response.text


class Checked(Client):
    """A client that looks at every answer (:func:`check_answer`) before the test does, with the steps of a push."""

    def __init__(self, registry: RegistryServer | str, **options: Any) -> None:
        super().__init__(registry, event_hooks={"response": [check_answer]}, **options)

    def start(self, name: str, **arguments: str) -> httpx2.Response:
        """POST for an upload."""
        return self.post(f"/v2/{name}/blobs/uploads/", params=arguments, headers={"content-length": "0"})

    def session(self, name: str, **arguments: str) -> str:
        """The location of a fresh upload."""
        begun = self.start(name, **arguments)
        assert begun.status_code == 202, begun.text
        return begun.headers["location"]

    def chunk(self, location: str, data: bytes, first: int | None = None, **headers: str) -> httpx2.Response:
        """PATCH a chunk, with a Content-Range if *first* is given."""
        if first is not None:
            headers["content-range"] = f"{first}-{first + len(data) - 1}"
        return self.patch(location, content=data, headers={**OCTETS, **headers})

    def finish(
        self, location: str, digest: str, data: bytes = b"", first: int | None = None, **headers: str
    ) -> httpx2.Response:
        """PUT the end of an upload."""
        if first is not None:
            headers["content-range"] = f"{first}-{first + len(data) - 1}"
        url = httpx2.URL(location).copy_merge_params({"digest": digest})
        return self.put(url, content=data, headers={**OCTETS, **headers})

    def blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """Push these bytes; their digest."""
        digest = digest_of(data, algorithm)
        done = self.finish(self.session(name, **{"digest-algorithm": algorithm}), digest, data)
        assert done.status_code == 201, done.text
        return digest

    def put_manifest(
        self, name: str, manifest: Pushed, reference: str = "", params: Any = None, **headers: str
    ) -> httpx2.Response:
        """PUT a manifest under *reference*, by default its digest."""
        return self.put(
            f"/v2/{name}/manifests/{reference or manifest.digest}",
            content=manifest.data,
            params=params,
            headers={"content-type": manifest.media_type, **headers},
        )

    def image(
        self,
        name: str,
        seed: object,
        tag: str = "",
        *,
        algorithm: str = "sha256",
        docker: bool = False,
        subject: Document | None = None,
        **more: Any,
    ) -> Pushed:
        """Push an image of one layer with whatever its manifest is to say besides."""
        config, layer = f'{{"seed": "{seed}"}}'.encode(), f"layer of {seed}".encode()
        self.blob(name, config, algorithm)
        self.blob(name, layer, algorithm)
        document = image_document(
            describe(config, DOCKER_CONFIG if docker else CONFIG, algorithm),
            [describe(layer, DOCKER_LAYER if docker else LAYER, algorithm)],
            DOCKER_MANIFEST if docker else MANIFEST,
            **({"subject": subject} if subject else {}),
            **more,
        )
        return self.accepted(name, manifest_of(document, algorithm), tag)

    def artifact(
        self, name: str, seed: object, kind: str = "application/vnd.test.sbom", tag: str = "", **more: Any
    ) -> Pushed:
        """Push an artifact: the empty config, an artifact type, no layer but the empty one."""
        self.blob(name, b"{}")
        empty = describe(b"{}", EMPTY_TYPE)
        document = image_document(empty, [empty], artifactType=kind, annotations={"seed": str(seed)}, **more)
        return self.accepted(name, manifest_of(document), tag)

    def index(
        self, name: str, manifests: Sequence[Pushed], tag: str = "", *, algorithm: str = "sha256", docker: bool = False
    ) -> Pushed:
        """Push an index of manifests that are there."""
        document = index_document([one.descriptor() for one in manifests], DOCKER_LIST if docker else INDEX)
        return self.accepted(name, manifest_of(document, algorithm), tag)

    def accepted(self, name: str, manifest: Pushed, reference: str = "") -> Pushed:
        """Push a manifest that must be taken."""
        done = self.put_manifest(name, manifest, reference)
        assert done.status_code == 201, done.text
        return manifest

    def fetch(self, name: str, reference: str) -> httpx2.Response:
        """GET a manifest."""
        return self.manifest(name, reference)

    def referrers(self, name: str, subject: str, **arguments: str) -> list[dict[str, Any]]:
        """All the referrers, page by page."""
        found: list[dict[str, Any]] = []
        url: str | None = str(httpx2.URL(f"/v2/{name}/referrers/{subject}", params=arguments))
        while url:
            page = self.get(url)
            assert page.status_code == 200, page.text
            found += page.json()["manifests"]
            url = page.links.get("next", {}).get("url")
        return found
