"""What is copied, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lading import errors
from lading.oci.digest import Digest
from lading.oci.manifest import Platform
from lading.remotes.copy import Copy, Side
from lading.remotes.layout import Layout
from tests.support import images
from tests.support.scripted import Answer, Asked, Scripted
from tests.unit.remotes.far import registry

pytestmark = pytest.mark.anyio


def described(raw: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": Digest.of(raw), "size": len(raw)}


async def test_indexes_in_indexes_have_an_end(tmp_path: Path) -> None:
    raw = json.dumps({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": []}).encode()
    there: dict[str, bytes] = {}
    for _ in range(1000):
        there[Digest.of(raw)] = raw
        document = {"schemaVersion": 2, "mediaType": images.INDEX, "manifests": [described(raw, images.INDEX)]}
        raw = json.dumps(document).encode()
    there["latest"] = raw

    def answer(asked: Asked) -> Answer:
        found = there.get(asked.path.rpartition("/")[2])
        return Answer(404) if found is None else Answer(200, found, {"content-type": images.INDEX})

    with Scripted(answer) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.ManifestInvalid, match="name one another in a row"):
                await Copy(Side(client, "a"), Side(Layout(tmp_path / "x", create=True))).image("latest", ["x"])


@pytest.mark.parametrize("wanted", [None, Platform(architecture="amd64", os="linux")])
async def test_a_child_is_as_long_as_its_index_says(tmp_path: Path, wanted: Platform | None) -> None:
    image = images.image("child")
    child = {**image.manifest.descriptor(), "size": image.manifest.size + 1, "platform": {"os": "linux"}}
    child["platform"]["architecture"] = "amd64"
    index = json.dumps({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": [child]}).encode()

    def answer(asked: Asked) -> Answer:
        top = asked.path.endswith("/latest")
        kind = images.INDEX if top else images.MANIFEST
        return Answer(200, index if top else image.manifest.data, {"content-type": kind})

    with Scripted(answer) as far_side:
        async with registry(far_side) as client:
            target = Side(Layout(tmp_path / "x", create=True))
            with pytest.raises(errors.SizeInvalid, match="what names it says"):
                await Copy(Side(client, "a"), target, wanted=wanted).image("latest", ["x"])


async def test_signatures_of_signatures_have_an_end(tmp_path: Path) -> None:
    """Who answers each question for what refers to a manifest with another one is not asked for ever."""
    image = images.image("signed")
    there = {one.digest: one.data for one in (*image.blobs, image.manifest)} | {"latest": image.manifest.data}

    def answer(asked: Asked) -> Answer:
        kind, _, name = asked.path.rpartition("/")
        if kind.endswith("/referrers"):
            subject = {"mediaType": images.MANIFEST, "digest": name, "size": 1}
            signature = json.dumps({**json.loads(image.manifest.data), "subject": subject}).encode()
            there[Digest.of(signature)] = signature
            listed = [described(signature, images.MANIFEST)]
            index = {"schemaVersion": 2, "mediaType": images.INDEX, "manifests": listed}
            return Answer(200, json.dumps(index).encode(), {"content-type": images.INDEX})
        return Answer(200, there.get(name, b""), {"content-type": images.MANIFEST})

    with Scripted(answer) as far_side:
        async with registry(far_side) as client:
            target = Side(Layout(tmp_path / "x", create=True))
            with pytest.raises(errors.ManifestInvalid, match="name one another in a row"):
                await Copy(Side(client, "a"), target, referrers=True).image("latest", ["x"])
