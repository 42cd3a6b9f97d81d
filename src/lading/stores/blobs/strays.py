"""Files below the folder of blobs that are no blobs: what a write that was broken off left, and what is not ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lading.oci.digest import ALGORITHMS
from lading.stores.blobs.layout import Layout

_OWN = re.compile(r"\.[0-9a-f]{32}")


class Stray(NamedTuple):
    """A file that is no blob; ``own``: named as Lading names what it writes. ``modified_at`` in milliseconds."""

    path: Path
    own: bool
    modified_at: int


def strays(layout: Layout) -> Iterator[Stray]:
    """Every file below the folder of blobs that is not the bytes of a blob. Blocks."""
    if not layout.blobs.is_dir():
        return
    for folder, _, files in os.walk(layout.blobs):
        place = Path(folder)
        blob = _is_blob_folder(place.relative_to(layout.blobs))
        for name in sorted(files):
            if blob and name == "data":
                continue
            try:
                modified_at = (place / name).lstat().st_mtime_ns // 1_000_000
            except FileNotFoundError:
                continue
            yield Stray(place / name, bool(_OWN.fullmatch(name)), modified_at)


def _is_blob_folder(relative: Path) -> bool:
    parts = relative.parts
    return len(parts) == 3 and parts[0] in ALGORITHMS and parts[2].startswith(parts[1])
