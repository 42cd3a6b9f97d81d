"""registry:2 itself (Debian's ``docker-registry``), for comparison and for volumes that move to and fro."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.packages import program
from tests.support.ports import free_port
from tests.support.process import run
from tests.support.server import RegistryServer, merged


class Peer(RegistryServer):
    """``with Peer(tmp_path) as registry:``; *configuration* is laid upon a minimal file with deletes allowed."""

    def __init__(
        self,
        root: Path,
        configuration: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str | None] | None = None,
        port: int | None = None,
        ca: Path | None = None,
    ) -> None:
        port = port or free_port()
        self.configuration = root / "config.yml"
        argv: list[str | Path] = [program("docker-registry"), "serve", self.configuration]
        super().__init__(root, argv, port=port, environment=environment, ca=ca)
        base = {
            "version": 0.1,
            "log": {"level": "info"},
            "http": {"addr": f"127.0.0.1:{port}"},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
        }
        self.configuration.write_text(yaml.safe_dump(merged(base, configuration or {})))

    def collect_garbage(self, *options: str) -> str:
        """Run registry:2's own collection on the stopped server's volume; what it printed."""
        assert not self.alive, "registry:2 cannot collect while it serves"
        return run([self.argv[0], "garbage-collect", *options, self.configuration], timeout=60).stdout
