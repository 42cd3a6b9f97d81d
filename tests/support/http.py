"""Requests a test makes itself: an httpx2 client with the few steps of a push."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx2

from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Blob, Image, Index, digest_of
from tests.support.server import RegistryServer

ACCEPT = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"


class Client(httpx2.Client):
    """An HTTP client whose base is a registry; never a proxy, never a netrc."""

    def __init__(self, registry: RegistryServer | str, **options: Any) -> None:
        if isinstance(registry, RegistryServer):
            options.setdefault("verify", registry.verify)
            registry = registry.url
        super().__init__(base_url=registry, trust_env=False, timeout=options.pop("timeout", 30), **options)

    def push_blob(self, repository: str, data: Blob | bytes | Iterable[bytes], digest: str | None = None) -> str:
        """POST, then PUT with the bytes (an iterable is sent chunked and needs its *digest*); the digest."""
        body = data.data if isinstance(data, Blob) else data
        if digest is None:
            assert isinstance(body, bytes), "a stream's digest cannot be known before it is sent"
            digest = digest_of(body)
        begun = self.post(f"/v2/{repository}/blobs/uploads/")
        assert begun.status_code == 202, f"{begun.status_code} {begun.text}"
        url = httpx2.URL(begun.headers["location"]).copy_merge_params({"digest": digest})
        done = self.put(url, content=body, headers={"content-type": "application/octet-stream"})
        assert done.status_code == 201, f"{done.status_code} {done.text}"
        return digest

    def push_manifest(self, repository: str, manifest: Blob, tag: str | None = None) -> str:
        """PUT under *tag*, or under its digest; the digest."""
        done = self.put(
            f"/v2/{repository}/manifests/{tag or manifest.digest}",
            content=manifest.data,
            headers={"content-type": manifest.media_type},
        )
        assert done.status_code == 201, f"{done.status_code} {done.text}"
        return manifest.digest

    def push(self, repository: str, content: Image | Index, tag: str | None = None) -> str:
        """Everything of an image or an index, children first; the manifest's digest."""
        if isinstance(content, Index):
            for one in content.images:
                self.push(repository, one)
        else:
            for blob in content.blobs:
                self.push_blob(repository, blob)
        return self.push_manifest(repository, content.manifest, tag)

    def manifest(self, repository: str, reference: str, accept: str = ACCEPT) -> httpx2.Response:
        """GET a manifest, whatever the answer."""
        return self.get(f"/v2/{repository}/manifests/{reference}", headers={"accept": accept})

    def tags(self, repository: str) -> list[str]:
        """The repository's tags, all pages."""
        tags: list[str] = []
        url: str | None = f"/v2/{repository}/tags/list"
        while url:
            page = self.get(url)
            assert page.status_code == 200, f"{page.status_code} {page.text}"
            tags += page.json()["tags"]
            url = page.links.get("next", {}).get("url")
        return tags
