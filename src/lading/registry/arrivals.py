"""Where a blob arrives, told to the other processes of this machine, so that their clients read it meanwhile.

Whoever fetches a blob writes down which file it goes to; who waits for it opens that file and sees by its length how far
it has come. A length says that the bytes are there only where both go by the same kernel's memory: on the same boot of a
machine, and the same file of the same file system. Anywhere else (another machine at a network file system) the blob is
waited for until it is stored.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from lading.stores.blobs.base import BlobFile
from lading.stores.blobs.disk import boot
from lading.stores.blobs.localfile import LocalFile

_FOLDER = Path("lading") / "arriving"


class Arrival:
    """One blob's way in, by the name that all processes know it by; below ``root``, which they share."""

    def __init__(self, root: Path, name: str) -> None:
        self._note = root / _FOLDER / hashlib.blake2b(name.encode(), digest_size=20).hexdigest()
        self._known = ""

    def tell(self, file: BlobFile) -> None:
        """It goes to this file, which this process writes."""
        descriptor = file.fileno()
        if descriptor is None:
            return
        with suppress(OSError):  # others wait until it is stored
            self._note.parent.mkdir(parents=True, exist_ok=True)
            mine = self._note.with_suffix(f".{os.getpid()}")
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            mine.write_text(f"{_where(descriptor)}\n{path}", encoding="utf-8", errors="surrogateescape")
            mine.replace(self._note)

    def look(self) -> LocalFile | None:
        """The file that it goes to, if it can be followed, and is none that was handed out before; to be closed."""
        try:
            where, _, path = self._note.read_text(encoding="utf-8", errors="surrogateescape").partition("\n")
            if where == self._known:
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            if _where(descriptor) == where:
                self._known = where
                return LocalFile(descriptor)
        os.close(descriptor)
        return None

    def over(self) -> None:
        """It does not arrive any more."""
        with suppress(OSError):
            self._note.unlink()


def _where(descriptor: int) -> str:
    about = os.fstat(descriptor)
    return f"{boot().hex()} {about.st_dev} {about.st_ino}"
