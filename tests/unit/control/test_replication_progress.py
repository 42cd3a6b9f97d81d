"""How far a replication task is: often enough for who looks, and seldom enough for its log."""

from __future__ import annotations

from lading.control.replication.progress import Progress
from lading.control.replication.runs import MOST_LOG
from lading.oci.manifest import Descriptor

BLOB = Descriptor(digest="sha256:" + "ab" * 32, size=10**13)
OTHER = Descriptor(digest="sha256:" + "cd" * 32, size=500)


class Told:
    """A progress whose clock a test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.progress = Progress(self.lines.append, lambda: self.now)

    def move(self, count: int, seconds: float) -> None:
        self.now += seconds
        self.progress.moved(BLOB, count)


def test_what_is_quick_says_nothing_and_what_lasts_says_bytes() -> None:
    told = Told()
    told.progress.reads(BLOB, 0)
    told.move(1000, 3)
    assert told.lines == []
    told.progress.reads(OTHER, 100)
    told.move(1000, 2)
    assert told.lines == [
        (
            "2000 bytes moved so far; on their way: 2000 of 10000000000000 bytes of sha256:abababababab, "
            "100 of 500 bytes of sha256:cdcdcdcdcdcd"
        )
    ]
    told.progress.end(OTHER)
    told.progress.reads(BLOB, 500)  # it broke, and goes on from there
    told.move(1000, 10)
    assert told.lines[1:] == [
        "3000 bytes moved so far; on their way: 1500 of 10000000000000 bytes of sha256:abababababab"
    ]
    told.progress.broken()
    told.progress.reads(OTHER, 0)
    told.now += 100
    told.progress.moved(OTHER, 50)
    assert told.lines[2:] == ["3050 bytes moved so far; on their way: 50 of 500 bytes of sha256:cdcdcdcdcdcd"]


def test_days_of_one_layer_fit_into_the_log() -> None:
    told = Told()
    told.progress.reads(BLOB, 0)
    for _ in range(86_400):
        told.move(10**8, 1)
    assert 200 < len(told.lines) < 400
    assert sum(map(len, told.lines)) < MOST_LOG // 2
