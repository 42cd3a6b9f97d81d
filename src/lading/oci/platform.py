"""Platforms as docker writes them, ``os/architecture[/variant]``, and which of an index's images suits one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lading.errors import Invalid, ManifestUnknown
from lading.oci.manifest import Descriptor, Platform

_GRAMMAR = re.compile(r"[a-z0-9_.-]+(?:/[a-z0-9_.-]+){0,2}", re.ASCII)
_VERSION = re.compile(r"v([0-9]{1,3})", re.ASCII)

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "arm": ("arm", "v7"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}


def parse(text: str) -> Platform:
    """``linux/arm64/v8``, or an architecture alone, for Linux; machines' own names (x86_64) are understood."""
    words = text.lower().split("/")
    if not _GRAMMAR.fullmatch(text.lower()):
        raise Invalid(f"{text!r} is no platform; write os/architecture[/variant], such as linux/arm64")
    if len(words) == 1:
        words = ["linux", words[0]]
    return _normal(words[0], words[1], words[2] if len(words) == 3 else "")


def written(platform: Platform) -> str:
    """``os/architecture[/variant]``."""
    return "/".join(word for word in (platform.os, platform.architecture, platform.variant) if word)


def matches(wanted: Platform, offered: Platform) -> int:
    """How well an image of ``offered`` suits ``wanted``: 0 not at all, else the more the better."""
    offered = _normal(offered.os, offered.architecture, offered.variant)
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return 0
    if wanted.variant == offered.variant:
        return 100
    if wanted.architecture == "arm":  # an older ARM's programs run on a newer one
        return _version(offered) if 5 <= _version(offered) < _version(wanted) else 0
    if wanted.architecture == "amd64":  # likewise v1 (which is written as nothing) to v4
        return 10 + _version(offered) if 1 <= _version(offered) < _version(wanted) else 0
    return 1 if not offered.variant else 0


def suits(wanted: Platform, said: Platform) -> bool:
    """Whether an image that says this of itself may be what is wanted; many for ARM leave their variant out."""
    if said.variant:
        return matches(wanted, said) > 0
    said = _normal(said.os, said.architecture, "")
    return (wanted.os, wanted.architecture) == (said.os, said.architecture)


def choose(children: Sequence[Descriptor], wanted: Platform) -> Descriptor:
    """The image of an index that suits best; :class:`ManifestUnknown` lists what there is instead."""
    ranked = [
        (matches(wanted, child.platform), -place, child) for place, child in enumerate(children) if child.platform
    ]
    best = max(ranked, key=lambda one: one[:2], default=(0, 0, None))
    if best[0] and best[2] is not None:
        return best[2]
    there = sorted({written(child.platform) for child in children if child.platform and child.platform.os != "unknown"})
    if not there and len(children) == 1:
        return children[0]
    raise ManifestUnknown(
        f"there is no image for {written(wanted)}; there is {', '.join(there) or 'nothing that names a platform'}"
    )


def _version(platform: Platform) -> int:
    """The number in a variant; 1 where there is none, 0 where it is written otherwise."""
    found = _VERSION.fullmatch(platform.variant or "v1")
    return int(found[1]) if found else 0


def _normal(os: str, architecture: str, variant: str) -> Platform:
    name, usual = _ARCHITECTURES.get(architecture, (architecture, ""))
    return Platform(name, "darwin" if os == "macos" else os, variant or usual)
