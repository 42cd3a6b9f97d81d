"""What ``index.json`` of an OCI image layout lists: manifests, each with a name or without."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec

from lading.errors import DigestInvalid, NameInvalid, TagInvalid
from lading.oci.manifest import Descriptor
from lading.oci.reference import Reference

NAME = "org.opencontainers.image.ref.name"
WHOLE_NAME = "io.containerd.image.name"
"""Where ``docker save`` writes the whole name, of which :data:`NAME` is the tag alone; two images may have the same there."""


class Entries:
    """The list, parsed once and found by name at once, however long it is; ``msgspec.ValidationError`` where it is none."""

    def __init__(self, listed: list[dict[str, Any]]) -> None:
        self.all = msgspec.convert(listed, list[Descriptor])

    def exactly(self, name: str) -> list[Descriptor]:
        """All whose name here is this one."""
        return self._exact.get(name, [])

    def called(self, name: str) -> Descriptor | None:
        """The first with a name, completed as docker does, which is this one in another form."""
        places = (self._written.get(name), self._completed.get(complete(name)))
        found = [place for place in places if place is not None]
        return self.all[min(found)] if found else None

    @cached_property
    def names(self) -> list[str]:
        """What the manifests are called: by their names here, and by the whole ones where several share one here."""
        found = set()
        for entry in self.all:
            name, whole = (_annotated(entry, key) for key in (NAME, WHOLE_NAME))
            found.add(whole if whole and (not name or len({one.digest for one in self._exact[name]}) > 1) else name)
        return sorted(found - {""})

    @cached_property
    def _exact(self) -> dict[str, list[Descriptor]]:
        found: dict[str, list[Descriptor]] = {}
        for entry in self.all:
            found.setdefault(_annotated(entry, NAME), []).append(entry)
        return found

    @cached_property
    def _written(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for place, entry in enumerate(self.all):
            for key in (NAME, WHOLE_NAME):
                found.setdefault(_annotated(entry, key), place)
        return found

    @cached_property
    def _completed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, place in self._written.items():
            if set(name) & {"/", ":"}:
                whole = complete(name)
                found[whole] = min(place, found.get(whole, place))
        return found


def complete(name: str) -> str:
    """A name with all that docker would add to it; as it is where it is no reference."""
    try:
        reference = Reference.parse(name)
    except (NameInvalid, TagInvalid, DigestInvalid):
        return name
    return f"{reference.name}{'@' if reference.digest else ':'}{reference.reference}"


def more(listed: Sequence[dict[str, Any]], added: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A list with further entries, each in place of what had its name.

    An entry without a name says no more than one with a name for the same manifest, which takes its place.
    """
    fresh: dict[tuple[str, Any], dict[str, Any]] = {}
    for entry in added:
        name, digest = name_in(entry), entry["digest"]
        for key in {("", digest), (name, "" if name else digest)}:
            fresh.pop(key, None)
        fresh[name, "" if name else digest] = entry
    names = {name for name, _ in fresh if name}
    digests = {entry["digest"] for entry in fresh.values()}
    kept = [
        one
        for one in listed
        if name_in(one) not in names and (one.get("digest") not in digests or NAME in (one.get("annotations") or {}))
    ]
    return [*kept, *fresh.values()]


def name_in(entry: dict[str, Any]) -> str:
    """The name that an entry of the list has, or nothing."""
    return str((entry.get("annotations") or {}).get(NAME) or "")


def _annotated(entry: Descriptor, key: str) -> str:
    return (entry.annotations or {}).get(key, "")
