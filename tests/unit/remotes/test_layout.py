"""The list of a layout: names that are written together, and what an entry takes the place of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lading.oci.manifest import Manifest, parse
from lading.remotes.layout import Layout
from tests.support import images

pytestmark = pytest.mark.anyio

NAME = "org.opencontainers.image.ref.name"


def manifest(blob: images.Blob) -> Manifest:
    return parse(blob.data, blob.media_type)


def listed(folder: Path) -> list[tuple[str, str]]:
    found: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())["manifests"]
    return [((one.get("annotations") or {}).get(NAME, ""), one["digest"]) for one in found]


async def test_many_names_are_written_once(tmp_path: Path) -> None:
    """Each of them cost a file with all before it."""
    layout, other = Layout(tmp_path, create=True), Layout(tmp_path)
    one, two = (manifest(images.image(seed).manifest) for seed in ("one", "two"))
    await layout.put_manifest("", "old", one)
    before = (tmp_path / "index.json").read_bytes()
    with layout.together():
        for tag in ("a", "b", "old"):
            await layout.put_manifest("", tag, two)
        assert (tmp_path / "index.json").read_bytes() == before
    assert listed(tmp_path) == [(tag, two.digest) for tag in ("a", "b", "old")]
    assert [name async for name in other.tags("")] == ["a", "b", "old"]
    await layout.put_manifest("", "c", one)
    assert (await other.manifest("", "c")).digest == one.digest


async def test_names_are_there_for_who_asks_and_after_a_failure(tmp_path: Path) -> None:
    layout = Layout(tmp_path, create=True)
    image = manifest(images.image("one").manifest)

    async def ended_early() -> None:
        with layout.together():
            await layout.put_manifest("", "a", image)
            assert (await layout.manifest("", "a")).digest == image.digest
            await layout.put_manifest("", "b", image)
            await layout.delete("", "a")
            await layout.put_manifest("", "c", image)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await ended_early()
    assert listed(tmp_path) == [("b", image.digest), ("c", image.digest)]


@pytest.mark.parametrize("together", [False, True])
async def test_what_refers_to_an_image_keeps_its_own_name(tmp_path: Path, together: bool) -> None:
    """It comes by its tag and, as what refers to another one, by its digest."""
    layout = Layout(tmp_path, create=True)
    signature = manifest(images.artifact("signature", subject=images.image("one").manifest.descriptor()).manifest)
    if together:
        with layout.together():
            await layout.put_manifest("", "signed", signature)
            await layout.put_manifest("", signature.digest, signature)
    else:
        await layout.put_manifest("", "signed", signature)
        await layout.put_manifest("", signature.digest, signature)
    assert ("signed", signature.digest) in listed(tmp_path)
