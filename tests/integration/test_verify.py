"""``lading verify`` beside a server that serves: what it says, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import PROGRAM, Lading


def data(registry: Lading, digest: str) -> Path:
    encoded = digest.partition(":")[2]
    return registry.storage / "docker/registry/v2/blobs/sha256" / encoded[:2] / encoded / "data"


def test_verify_beside_a_server(tmp_path: Path) -> None:
    made, other = image("made"), image("other")
    with Lading(tmp_path, workers=2) as registry, Client(registry) as client:
        client.push("a", made, "1")
        client.push("b", other, "1")
        said = registry.run("verify", "--rate", "50MiB").stdout
        assert "Checked 2 manifests, 6 blobs" in said
        assert "Everything can be served" in said
        layer = made.layers[0]
        data(registry, layer.digest).write_bytes(b"!" * layer.size)
        assert registry.run("verify", "--quick").returncode == 0, "the size is right"
        found = registry.run("verify", "--report", "-", check=False)
        assert found.returncode == 7
        report = json.loads(found.stdout)
        assert [(each["kind"], each["what"]) for each in report["findings"]] == [("damaged", layer.digest)]
        mended = registry.run("verify", "--repair", "--report", tmp_path / "report.json", check=False)
        assert mended.returncode == 7
        assert "push an image that has it to mend it" in mended.stdout
        assert json.loads((tmp_path / "report.json").read_text())["repair"] is True
        assert client.head(f"/v2/a/blobs/{layer.digest}").status_code == 404
        client.push("a", made, "1")
        assert client.get(f"/v2/a/blobs/{layer.digest}").content == layer.data
        assert registry.run("verify").returncode == 0
        assert registry.run("verify", "--rate", "fast", check=False).returncode == 2


def test_an_index_that_is_no_database(tmp_path: Path) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.push("a", image("made"), "1")
    for path in (registry.storage / "lading").glob("index.sqlite*"):
        path.write_bytes(b"not a database, and long enough to look at\n" * 100)
    said = registry.run("verify", check=False)
    assert said.returncode == 1
    assert "is damaged, or no index" in said.stderr
    assert "lading verify --rebuild" in said.stderr
    for path in (registry.storage / "lading").glob("index.sqlite*"):
        path.unlink()
    said = registry.run("verify", check=False)
    assert "lading verify --rebuild" in said.stderr
    assert "in the repository recovered" in registry.run("verify", "--rebuild").stdout
    with registry, Client(registry) as client:
        [tag] = client.tags("recovered")
        assert client.manifest("recovered", tag).content == image("made").manifest.data


def test_how_far_it_is(tmp_path: Path) -> None:
    """A bar for each phase on a terminal, lines elsewhere."""
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.push("a", image("made", (300_000,)), "1")
        ours, its = pty.openpty()
        own = {name: value for name, value in registry.environment.items() if value is not None}
        variables = {**os.environ, **own, "TERM": "xterm", "COLUMNS": "120"}
        done = subprocess.run([PROGRAM, "verify"], stdout=subprocess.PIPE, stderr=its, env=variables, check=True)
        os.close(its)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # which is how a terminal says that nobody is left
            os.close(ours)
        drawn = shown.decode()
        for phase in ("manifests", "verify", "store"):
            assert phase in drawn
        assert "\u2501" * 20 in drawn
        assert "kB of" in drawn
        assert b"Everything can be served" in done.stdout
        assert "verify: 0 bytes of" in registry.run("verify").stderr
