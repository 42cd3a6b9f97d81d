"""The mirror while the line to its upstream is cut: clients notice nothing, and no byte comes twice."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_mirror import mirror, pull
from tests.support.cutting import DOWN, Cutting
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import Lading

_SIZE = 6_000_000
_TENTHS = [_SIZE * number // 10 for number in range(1, 10)]


def test_a_line_that_is_cut_at_every_tenth(tmp_path: Path) -> None:
    content = image("mirrored", [_SIZE])
    with Lading(tmp_path / "far") as far, Client(far) as pusher, Cutting(far.port) as line:
        pusher.push("a", content, "1")
        with mirror(tmp_path / "near", line.url, workers=2) as near, Client(near) as client:
            assert client.manifest("a", "1").status_code == 200
            line.cut_at(DOWN, _TENTHS)
            pull(client, "a", content, "1")
            assert line.cuts == len(_TENTHS)
            assert line.moved[DOWN] < 2 * _SIZE, "each break began the layer anew"
            near.run("verify", "--config", near.configuration)
