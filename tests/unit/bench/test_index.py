"""The benchmark's index filled in bulk serves what its requests ask for."""

from __future__ import annotations

import json
from pathlib import Path

from bench.fixture import manifest_path
from bench.index import fill
from bench.servers import Lading
from bench.wire import Connection
from tests.support.lading import PROGRAM


def test_what_was_filled_in_is_served(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    words = (str(PROGRAM), "serve", "--workers", "1")
    lading = Lading("lading", tmp_path / "root", tmp_path, words=words)
    fill(lading, repositories=3, tags_each=4)
    lading.start()
    try:
        with Connection(lading.port) as connection:
            connection.send("GET", manifest_path(2, 3))
            assert json.loads(connection.answer(200))["schemaVersion"] == 2
            connection.send("GET", "/v2/team-000/app-00001/tags/list")
            assert json.loads(connection.answer(200))["tags"] == ["v1.0", "v1.1", "v1.2", "v1.3"]
            connection.send("GET", "/v2/_catalog")
            assert len(json.loads(connection.answer(200))["repositories"]) == 3
    finally:
        lading.stop()
