"""A file system that loses its power: what is left is what was synced, and of the rest any part.

It promises what ext4 promises and not more. The bytes of a file are durable when the file was synced; a name is durable
when its folder was. A rename is one step. All that was not synced may be there or not, each piece for itself, and a piece
of a write as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.trace import Event

_SECTOR = 512


@dataclass(eq=False)
class File:
    """Bytes that are durable, and writes on their way: an offset and data, or a length and None."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    size: int = 0


@dataclass(eq=False)
class Folder:
    """Names as a program sees them ``now``, and those that are ``durable``."""

    now: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


Node = File | Folder


@dataclass(eq=False)
class Naming:
    """A change of names on its way: each a folder, a name, and what it leads to (None: nothing)."""

    changes: list[tuple[Folder, str, Node | None]]


@dataclass(frozen=True)
class Loss:
    """Which of what was not synced is left: asked once for each change of names, and once for each write.

    ``write`` answers how many of its bytes are left; ``zeros`` says whether the rest are zeros instead of nothing.
    """

    naming: Callable[[], bool]
    write: Callable[[int], int]
    zeros: bool = False


NOTHING_LEFT = Loss(lambda: False, lambda size: 0)
NAMES_LEFT = Loss(lambda: True, lambda size: 0)
ZEROS_LEFT = Loss(lambda: True, lambda size: 0, zeros=True)
BYTES_LEFT = Loss(lambda: False, lambda size: size)
ALL_LEFT = Loss(lambda: True, lambda size: size)


def some_left(seed: object) -> Loss:
    """Any part, the same for the same seed."""
    chance = random.Random(str(seed))

    def write(size: int) -> int:
        torn = chance.randrange(0, size + 1, _SECTOR) if size >= _SECTOR else 0
        return chance.choice((0, size, torn))

    return Loss(lambda: chance.random() < 0.5, write, chance.random() < 0.3)


class Medium:
    """Follows events; :meth:`left` says what a power cut would leave now."""

    def __init__(self) -> None:
        self._root = Folder()
        self._namings: list[Naming] = []
        self._syncs: dict[int, tuple[Node, int, list[Naming]]] = {}

    def apply(self, event: Event) -> None:
        """Let an event happen."""
        folder, name = self._place(event.path) if event.path else (self._root, "")
        match event.kind:
            case "create":
                if name not in folder.now:
                    self._name((folder, name, File()))
            case "mkdir":
                self._name((folder, name, Folder()))
            case "unlink" | "rmdir":
                self._name((folder, name, None))
            case "rename" | "link":
                there, new = self._place(event.target)
                old = [(folder, name, None)] if event.kind == "rename" else []
                self._name((there, new, folder.now[name]), *old)
            case "write":
                self._write(self._file(event.path), event.offset, event.data)
            case "truncate":
                file = self._file(event.path)
                file.pending.append((event.offset, None))
                file.size = event.offset
            case "sync-begins":
                node = folder if event.path == "." else folder.now[name]
                names = [each for each in self._namings if any(one[0] is node for one in each.changes)]
                self._syncs[event.offset] = (node, len(node.pending) if isinstance(node, File) else 0, names)
            case "sync-ends":
                self._synced(*self._syncs.pop(event.offset))

    def _name(self, *changes: tuple[Folder, str, Node | None]) -> None:
        for folder, name, node in changes:
            _change(folder.now, name, node)
        self._namings.append(Naming(list(changes)))

    def _write(self, file: File, offset: int, data: bytes) -> None:
        offset = file.size if offset < 0 else offset
        file.pending.append((offset, data))
        file.size = max(file.size, offset + len(data))

    def _synced(self, node: Node, count: int, names: list[Naming]) -> None:
        if isinstance(node, File):
            node.durable = _written(node.durable, node.pending[:count], ALL_LEFT)
            node.pending = node.pending[count:]
        for naming in names:
            if naming in self._namings:
                self._namings.remove(naming)
                for folder, name, to in naming.changes:
                    _change(folder.durable, name, to)

    def _place(self, path: str) -> tuple[Folder, str]:
        *above, name = path.split("/")
        folder = self._root
        for each in above:
            found = folder.now[each]
            assert isinstance(found, Folder)
            folder = found
        return folder, name

    def _file(self, path: str) -> File:
        folder, name = self._place(path)
        found = folder.now[name]
        assert isinstance(found, File), path
        return found

    # ---- the cut

    def left(self, loss: Loss) -> dict[str, bytes | None]:
        """What is left: path → bytes, or None for a folder."""
        names: dict[int, dict[str, Node]] = {}
        for naming in self._namings:
            if loss.naming():
                for folder, name, node in naming.changes:
                    _change(names.setdefault(id(folder), dict(folder.durable)), name, node)
        found: dict[str, bytes | None] = {}
        waiting: list[tuple[str, Folder]] = [("", self._root)]
        while waiting:
            path, folder = waiting.pop()
            for name, node in sorted(names.get(id(folder), folder.durable).items()):
                if isinstance(node, Folder):
                    found[path + name] = None
                    waiting.append((f"{path}{name}/", node))
                elif not name.endswith("-shm"):  # shared memory of SQLite's, made anew by whoever comes first
                    found[path + name] = _written(node.durable, node.pending, loss)
        return found


def _change(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _written(durable: bytes, writes: list[tuple[int, bytes | None]], loss: Loss) -> bytes:
    content = bytearray(durable)
    for offset, data in writes:
        if data is None:
            if loss.write(1):
                content[offset:] = bytes(max(0, offset - len(content)))
            continue
        kept = data[: loss.write(len(data))]
        if loss.zeros:
            kept += bytes(len(data) - len(kept))
        if kept:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(kept)] = kept
    return bytes(content)


def lay_down(left: dict[str, bytes | None], place: Path) -> None:
    """Write what is left into a folder."""
    place.mkdir()
    for path, content in sorted(left.items(), key=lambda item: item[0].count("/")):
        if content is None:
            (place / path).mkdir()
        else:
            (place / path).write_bytes(content)
