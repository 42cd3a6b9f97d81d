"""What the configuration makes of the parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lading.config.model import Configuration
from lading.errors import Denied, LadingError, ManifestInvalid
from lading.jobs.events import By
from lading.jobs.outbox import Outbox
from lading.registry.push import Push, push_policy
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.metadata.engine import open_index

DIGEST = "sha256:" + "a" * 64
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


async def refusal(root: Path, configured: dict[str, Any], config_type: str, url: str = "") -> LadingError | None:
    """What a push of an image of nothing but a config and a foreign layer is refused with."""
    metadata = open_index(f"sqlite:///{root}/index.sqlite")
    outbox = Outbox(metadata, listening=False)
    # content that is not there is another matter
    validation = configured.setdefault("validation", {})
    validation.setdefault("manifests", {})["layers"] = "none"
    push = Push(metadata, FilesystemStore(root), outbox, push_policy(Configuration.model_validate(configured)))
    layer = {"mediaType": FOREIGN, "digest": DIGEST, "size": 1, "urls": [url]}
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": config_type, "digest": DIGEST, "size": 1},
        "layers": [layer] if url else [],
    }
    try:
        await push.manifest("a", None, ["t"], "", json.dumps(manifest).encode(), By())
    except LadingError as error:
        return error
    finally:
        await metadata.close()
    return None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("urls", "url", "permitted"),
    [
        ({}, "https://example.com/layer", True),
        ({}, "ftp://example.com/layer", False),
        ({}, "https://example.com/layer#part", False),
        ({"allow": ["^https://example\\.com/"]}, "https://example.com/layer", True),
        ({"allow": ["^https://example\\.com/"]}, "https://example.org/layer", False),
        ({"allow": ["."], "deny": ["secret"]}, "https://example.com/secret", False),
        ({"deny": ["secret"]}, "https://example.com/layer", True),
        ({"deny": ["secret"]}, "https://example.com/secret", False),
    ],
)
async def test_which_urls_a_manifest_may_name(tmp_path: Path, urls: dict[str, Any], url: str, permitted: bool) -> None:
    configured = {"validation": {"manifests": {"urls": urls}}}
    found = await refusal(tmp_path, configured, "application/vnd.oci.image.config.v1+json", url)
    assert (found is None) is permitted
    assert permitted or isinstance(found, ManifestInvalid)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("classes", "config_type", "permitted"),
    [
        ([], "application/vnd.docker.plugin.v1+json", True),
        (["image"], "application/vnd.docker.container.image.v1+json", True),
        (["image"], "application/vnd.oci.image.config.v1+json", True),
        (["image"], "application/vnd.docker.plugin.v1+json", False),
        (["image"], "application/vnd.example.chart", False),
        (["plugin"], "application/vnd.docker.plugin.v1+json", True),
    ],
)
async def test_which_classes_are_taken(tmp_path: Path, classes: list[str], config_type: str, permitted: bool) -> None:
    found = await refusal(tmp_path, {"policy": {"repository": {"classes": classes}}}, config_type)
    assert (found is None) is permitted
    assert permitted or isinstance(found, Denied)
