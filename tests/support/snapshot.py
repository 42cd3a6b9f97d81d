"""Everything a registry serves, fetched over HTTP, to be compared with what another one serves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.support.http import Client
from tests.support.images import digest_of
from tests.support.server import RegistryServer


class Served(NamedTuple):
    """What a GET answered: for a manifest with its media type."""

    status: int
    media_type: str
    digest: str


def snapshot(registry: RegistryServer, untagged: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """Path → what is served there: the catalog, tags, manifests by tag and digest, and all the blobs they name.

    *untagged* are repositories with digests of manifests that no tag leads to.
    """
    with Client(registry) as client:
        repositories = sorted(client.get("/v2/_catalog", params={"n": 1000}).json()["repositories"])
        seen: dict[str, Any] = {"catalog": repositories}
        for repository in repositories:
            answer = client.get(f"/v2/{repository}/tags/list")
            tags = sorted(answer.json().get("tags") or []) if answer.status_code == 200 else []
            seen[f"{repository} tags"] = tags
            for tag in tags:
                _manifest(client, repository, tag, seen)
        for repository, digest in untagged:
            _manifest(client, repository, digest, seen)
    return seen


def _manifest(client: Client, repository: str, reference: str, seen: dict[str, Any]) -> None:
    path = f"/v2/{repository}/manifests/{reference}"
    if path in seen:
        return
    answer = client.manifest(repository, reference)
    if answer.status_code != 200:
        seen[path] = Served(answer.status_code, "", "")
        return
    digest = digest_of(answer.content)
    assert answer.headers["docker-content-digest"] == digest
    seen[path] = Served(200, answer.headers["content-type"], digest)
    _manifest(client, repository, digest, seen)
    document = json.loads(answer.content)
    for child in document.get("manifests", ()):
        _manifest(client, repository, child["digest"], seen)
    for blob in (*([document["config"]] if "config" in document else []), *document.get("layers", ())):
        _blob(client, repository, blob["digest"], seen)


def _blob(client: Client, repository: str, digest: str, seen: dict[str, Any]) -> None:
    path = f"/v2/{repository}/blobs/{digest}"
    if path not in seen:
        answer = client.get(path)
        seen[path] = Served(answer.status_code, "", digest_of(answer.content) if answer.status_code == 200 else "")
