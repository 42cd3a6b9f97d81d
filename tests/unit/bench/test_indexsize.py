"""What a row of the index takes is measured on the real schema, with content whose references are sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from bench.indexsize import LAYERS, OWN_LAYERS, measure


def test_the_made_up_content_is_sound_and_measured(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/index.sqlite")
    found = measure(engine, 2000)["tables"]
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(text("SELECT count(*) FROM tags")).scalar_one() == 2000
    engine.dispose()
    assert found["manifests"]["rows_a_manifest"] == 1
    assert found["blobs"]["rows_a_manifest"] == pytest.approx(OWN_LAYERS + 2 + 500 / 2000)
    assert OWN_LAYERS + 2 < found["manifest_blobs"]["rows_a_manifest"] <= LAYERS + 1
    whole = (tmp_path / "index.sqlite").stat().st_size
    told = sum(table["bytes_a_row"] * table["rows_a_manifest"] for table in found.values()) * 2000
    assert told == pytest.approx(whole, rel=0.1)
