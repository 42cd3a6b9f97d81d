"""Archives of ``docker save``, good ones and traps."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from lading.errors import BlobUnknown, LadingError, LocalError, ManifestInvalid
from lading.remotes import unpack
from lading.remotes.fetch import content
from lading.remotes.layout import Layout, ReadableLayout
from lading.remotes.unpack import opened
from tests.support import images

pytestmark = pytest.mark.anyio

Members = Mapping[str, bytes | str]
"""Files by name; a text is a symbolic link's target, or a hard link's when it begins with ``=``."""


def write(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type = tarfile.LNKTYPE if data.startswith("=") else tarfile.SYMTYPE
                member.linkname = data.removeprefix("=")
                tar.addfile(member)
            else:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def saved(image: images.Image, layers: list[str], **more: Any) -> dict[str, bytes | str]:
    """``manifest.json`` and the configuration; the caller adds what is at the layers' paths."""
    listing = [{"Config": "config.json", "RepoTags": ["app:1", "r.lab/app:2"], "Layers": layers, **more}]
    return {"manifest.json": json.dumps(listing).encode(), "config.json": image.config.data}


@pytest.fixture
def image() -> images.Image:
    return images.image("saved", (2000, 100_000), docker=True)


async def plain(layout: ReadableLayout, name: str) -> list[bytes]:
    """The image's layers, uncompressed."""
    manifest = await layout.manifest("", name)
    return [gzip.decompress(await content(layout, "", layer)) for layer in manifest.layers]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["tar", "gz", "bz2", "xz"])
async def test_an_archive_with_links_as_old_engines_write_it(
    image: images.Image, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    members = {
        **saved(image, ["a/layer.tar", "b/layer.tar"]),
        "a/layer.tar": image.diffs[0],
        "real/layer.tar": image.diffs[1],
        "b/layer.tar": "../real/layer.tar",
    }
    path = write(tmp_path / "saved.tar", members)
    path.write_bytes(pack(path.read_bytes()))
    layout = await opened(path, tmp_path / "scratch")
    assert [name async for name in layout.tags("")] == ["docker.io/library/app:1", "r.lab/app:2"]
    manifest = await layout.manifest("", "r.lab/app:2")
    with pytest.raises(LadingError) as missing:
        await layout.manifest("", "r.lab/app:3")
    assert missing.value.message.startswith(f"{path} has no r.lab/app:3")
    assert manifest.config is not None
    assert manifest.config.digest == image.config.digest
    assert await plain(layout, "r.lab/app:2") == list(image.diffs)


async def test_the_same_archive_always_gives_the_same_digests(image: images.Image, tmp_path: Path) -> None:
    path = images.write_docker_archive(tmp_path / "saved.tar", image, ["app:1"])
    digests = set()
    for scratch in ("one", "two"):
        layout = await opened(path, tmp_path / scratch)
        digests.add((await layout.manifest("", "docker.io/library/app:1")).digest)
    assert len(digests) == 1


async def test_layers_that_are_compressed_stay_as_they_are(image: images.Image, tmp_path: Path) -> None:
    members = {**saved(image, ["0", "1"]), "0": image.layers[0].data, "1": image.layers[1].data}
    layout = await opened(write(tmp_path / "saved.tar", members), tmp_path / "scratch")
    manifest = await layout.manifest("", "r.lab/app:2")
    assert [layer.digest for layer in manifest.layers] == [layer.digest for layer in image.layers]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"1": "/etc/passwd"}, "leads out of the archive"),
        ({"1": "../../../etc/passwd"}, "leads out of the archive"),
        ({"1": "=/etc/passwd"}, "leads out of the archive"),
        ({"1": "1"}, "a link to a link"),
        ({"1": "2", "2": "1"}, "a link to a link"),
        ({"1": "nothing"}, "it is not in it"),
        ({"1": b"another layer"}, "is not the one its configuration names"),
        ({"config.json": b"{}"}, "is not that of an image"),
        ({"config.json": b"[" * 100_000}, "is not that of an image"),
        ({"config.json": b'{"rootfs": {"diff_ids": []}}'}, "2 layers where its configuration has 0"),
        ({"config.json": b'{"rootfs": {"diff_ids": [7, 8]}}'}, "does not say what its layers are"),
        ({"config.json": b'{"rootfs": {"diff_ids": ["sha256:../../x", "y"]}}'}, "is not a digest"),
        ({"manifest.json": b"{}"}, "not what docker save writes"),
        ({"manifest.json": b"[]"}, "has no image in it"),
        ({"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'}, "leads out of the archive"),
        ({"manifest.json": b'[{"Config": "/etc/passwd", "Layers": null}]'}, "leads out of the archive"),
        ({"manifest.json": b'[{"Config": "config.json", "Layers": [7]}]'}, "not what docker save writes"),
    ],
)
async def test_a_trap_is_refused_and_reads_nothing_else(
    image: images.Image, tmp_path: Path, changed: Members, said: str
) -> None:
    members = {**saved(image, ["0", "1"]), "0": image.diffs[0], "1": image.diffs[1], **changed}
    path = write(tmp_path / "saved.tar", members)
    with pytest.raises(LadingError, match=said) as found:
        await opened(path, tmp_path / "scratch")
    assert "root:" not in found.value.message
    left = [one for one in (tmp_path / "scratch").rglob("*") if one.name.startswith(".partial")]
    assert left == []


async def test_members_that_nothing_names_are_not_looked_at(image: images.Image, tmp_path: Path) -> None:
    members = {
        **saved(image, ["0", "1"]),
        "0": image.diffs[0],
        "1": image.diffs[1],
        "/etc/cron.d/evil": b"x",
        "../../evil": b"x",
        "link": "/etc/shadow",
    }
    layout = await opened(write(tmp_path / "saved.tar", members), tmp_path / "scratch")
    assert await plain(layout, "r.lab/app:2") == list(image.diffs)
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("names", [7, "r.lab/app:2", None, [None, 7, "r.lab/App:2", "-"]])
async def test_names_that_are_none(image: images.Image, tmp_path: Path, names: Any) -> None:
    members = {**saved(image, ["0", "1"]), "0": image.diffs[0], "1": image.diffs[1]}
    [listed] = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps([{**listed, "RepoTags": names}]).encode()
    layout = await opened(write(tmp_path / "saved.tar", members), tmp_path / "scratch")
    assert [name async for name in layout.tags("")] == []
    assert await plain(layout, "") == list(image.diffs)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no tar archive|none of images"),
        (b"x" * 10_000, "no tar archive"),
        (gzip.compress(bytes(200 << 20), 9), "taken for an attack"),
        (gzip.compress(b"x" * 10_000)[:-9], "cut off or damaged"),
        (gzip.compress(b"x" * 10_000), "no tar archive"),
        (bz2.compress(b"x" * 10_000)[:-9], "cut off or damaged"),
        (b"BZh9" + b"x" * 1000, "cut off or damaged"),
        (lzma.compress(bytes(200 << 20), preset=0), "taken for an attack"),
        (lzma.compress(b"x" * 10_000)[:-40], "cut off or damaged"),
        (lzma.compress(b"x" * 10_000)[:-20] + b"y" * 20, "cut off or damaged"),
        (b"\x28\xb5\x2f\xfdx", "zstd -d x.tar"),
    ],
    ids=[
        "empty",
        "noise",
        "bomb",
        "cut",
        "gzip-of-noise",
        "bz2-cut",
        "bz2-noise",
        "xz-bomb",
        "xz-cut",
        "xz-noise",
        "zstd",
    ],
)
async def test_what_is_no_archive(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(raw)
    with pytest.raises(LadingError, match=said):
        await opened(path, tmp_path / "scratch")


def header(raw: bytearray, at: int, *, size: bytes = b"", kind: bytes = b"") -> None:
    """Change a member's header, and its sum so that it counts."""
    if size:
        raw[at + 124 : at + 136] = size
    if kind:
        raw[at + 156 : at + 157] = kind
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])


BELOW_ZERO = b"\xff" * 10 + b"\xfc\x00"
"""-1024: back to the header it stands in."""


@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"2"], ids=["file", "long-name", "pax", "link"])
@pytest.mark.parametrize("size", [BELOW_ZERO, b"\xff" * 12, b"\x80" + b"\x7f" * 11], ids=["back", "minus-one", "huge"])
async def test_a_size_that_cannot_be(image: images.Image, tmp_path: Path, kind: bytes, size: bytes) -> None:
    """Python's own reader goes round in circles at some of them."""
    made = write(tmp_path / "x.tar", {**saved(image, ["0", "1"]), "0": image.diffs[0], "1": image.diffs[1]})
    raw = bytearray(made.read_bytes())
    header(raw, 0, size=size, kind=kind)
    made.write_bytes(raw)
    with pytest.raises(LadingError):
        await opened(made, tmp_path / "scratch")


async def test_names_of_names_of_names(tmp_path: Path) -> None:
    block = bytearray(512)
    block[:1], block[257:263] = b"a", b"ustar\0"
    header(block, 0, size=b"00000000000\0", kind=b"L")
    (tmp_path / "x.tar").write_bytes(bytes(block) * 5000)
    with pytest.raises(LocalError, match="is no tar archive"):
        await opened(tmp_path / "x.tar", tmp_path / "scratch")


async def test_who_has_had_enough_does_not_wait_for_the_rest(
    image: images.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads that compress are told; a command ends when they have."""
    path = write(tmp_path / "x.tar", {**saved(image, ["0", "1"]), "0": image.diffs[0], "1": image.diffs[1]})
    copy, begun = unpack._copy, threading.Event()

    def slowly(archive: BinaryIO, out: BinaryIO, size: int, given_up: threading.Event, *, pack: bool) -> Any:
        begun.set()
        assert given_up.wait(60)
        return copy(archive, out, size, given_up, pack=pack)

    monkeypatch.setattr(unpack, "_copy", slowly)
    task = asyncio.ensure_future(opened(path, tmp_path / "scratch"))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = threading.Event()
    told.set()
    with pytest.raises(LocalError), (tmp_path / "out").open("wb") as out, path.open("rb") as archive:
        copy(archive, out, 1 << 20, told, pack=True)


async def test_a_layout_of_what_is_no_file(image: images.Image, tmp_path: Path) -> None:
    """A link to itself, a pipe that nobody writes to."""
    folder = images.write_layout(tmp_path / "in", {"x": image})
    blob = folder / "blobs" / "sha256" / image.digest[7:]
    for make, said in ((partial(blob.symlink_to, blob), "symbolic links"), (partial(os.mkfifo, blob), "is no file")):
        blob.unlink()
        make()
        with pytest.raises(LocalError, match=said):
            await Layout(folder).manifest("", "x")
    with pytest.raises(LocalError, match="is no file"):
        await opened(blob, tmp_path / "scratch")


async def test_an_archive_that_is_cut_off(image: images.Image, tmp_path: Path) -> None:
    whole = write(
        tmp_path / "x.tar", {**saved(image, ["0", "1"]), "0": image.diffs[0], "1": image.diffs[1]}
    ).read_bytes()
    for size in range(0, len(whole) - 10_240, 7919):
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:size])
        with pytest.raises((LocalError, ManifestInvalid, BlobUnknown)):
            await opened(path, tmp_path / "scratch")


async def test_an_oci_archive_with_lies(tmp_path: Path) -> None:
    image = images.image("lies")
    folder = images.write_layout(tmp_path / "in", {"x": image})
    blobs = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    name = f"blobs/sha256/{image.digest[7:]}"
    for change in (
        {name: b"{}"},
        {name: b"/etc/passwd".decode()},
        {"index.json": json.dumps({"manifests": [{"digest": "sha256:../../../etc/passwd", "size": 3}]}).encode()},
        {"index.json": json.dumps({"manifests": [{"digest": image.digest, "size": 1 << 60}]}).encode()},
        {"index.json": b'{"manifests": 7}'},
        {"index.json": b'{"manifests": [7]}'},
    ):
        layout = await opened(write(tmp_path / "x.tar", {**blobs, **change}), tmp_path / "scratch")
        with pytest.raises(LadingError):
            await layout.manifest("", "" if "index.json" in change else "x")
    assert hashlib.sha256(image.manifest.data).hexdigest() == image.digest[7:]
