"""Which image of an index runs on a machine."""

from __future__ import annotations

import pytest

from lading.errors import Invalid, ManifestUnknown
from lading.oci.manifest import Descriptor, Platform
from lading.oci.platform import choose, parse, written


def offered(*platforms: str) -> list[Descriptor]:
    found = []
    for text in platforms:
        os, architecture, variant = (*text.split("/"), "")[:3]
        found.append(Descriptor(digest=text, platform=Platform(architecture, os, variant)))
    return found


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64/v8"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("macos/arm64", "darwin/arm64/v8"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_how_platforms_are_written(text: str, means: str) -> None:
    assert written(parse(text)) == means


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "linux amd64", "linux/amd64\n"])
def test_no_platform(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ["linux/arm64/v8", "linux/amd64"], "linux/amd64"),
        ("linux/arm64", ["linux/amd64", "linux/arm64"], "linux/arm64"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64/v8"], "linux/arm/v6"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64", ["unknown/unknown", "linux/amd64", "linux/amd64"], "linux/amd64"),
        ("windows/amd64", ["linux/amd64", "windows/amd64"], "windows/amd64"),
        ("linux/arm/v7", ["linux/arm/v6x", "linux/arm/v5"], "linux/arm/v5"),
        ("linux/amd64/v2", ["linux/amd64/Vx", "linux/amd64"], "linux/amd64"),
    ],
)
def test_the_image_that_suits(wanted: str, there: list[str], chosen: str) -> None:
    assert choose(offered(*there), parse(wanted)).digest == chosen


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", ["linux/amd64/v3"]),
        ("linux/s390x", ["linux/amd64", "unknown/unknown"]),
        ("linux/amd64", []),
    ],
)
def test_nothing_suits(wanted: str, there: list[str]) -> None:
    with pytest.raises(ManifestUnknown) as found:
        choose(offered(*there), parse(wanted))
    assert "unknown" not in found.value.message
    assert all(one in found.value.message for one in there if "unknown" not in one)


def test_an_index_that_names_no_platform_and_has_one_image_is_that_image() -> None:
    assert choose([Descriptor(digest="only")], parse("linux/amd64")).digest == "only"
