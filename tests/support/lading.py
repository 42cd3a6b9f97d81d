"""A Lading server under test: the real program, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.ports import free_port
from tests.support.process import run
from tests.support.server import RegistryServer, merged

PROGRAM = Path(sys.executable).with_name("lading")
"""The command installed beside the Python that runs the tests."""


class Lading(RegistryServer):
    """``with Lading(tmp_path) as registry:`` serves on a free port, deletes allowed, one worker.

    By default it is configured as registry:2's image is, by variables (*environment* adds to them). With
    *configuration* it starts from a YAML file instead, in which the given values are laid upon ``http.addr``, the
    storage's root directory and ``storage.delete``. *arguments* follow ``lading serve``.
    """

    def __init__(
        self,
        root: Path,
        configuration: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str | None] | None = None,
        arguments: Sequence[str] = (),
        workers: int = 1,
        port: int | None = None,
        ca: Path | None = None,
        timeout: float = 30,
    ) -> None:
        port = port or free_port()
        argv: list[str | Path] = [PROGRAM, "serve", "--workers", str(workers), *arguments]
        variables: dict[str, str | None] = dict(environment or {})
        if configuration is None:
            variables = {
                "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root / "storage"),
                "REGISTRY_STORAGE_DELETE_ENABLED": "true",
                **variables,
            }
        super().__init__(root, argv, port=port, environment=variables, ca=ca, timeout=timeout)
        if configuration is not None:
            self.configuration = self.root / "config.yml"
            self.configure(configuration)
            self.argv.append(str(self.configuration))

    def configure(self, values: Mapping[str, Any]) -> None:
        """Write the configuration file anew; :meth:`restart` takes it up."""
        base = {
            "version": 0.1,
            "http": {"addr": f"127.0.0.1:{self.port}"},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
        }
        self.configuration.write_text(yaml.safe_dump(merged(base, values)))

    def run(self, *words: str | Path, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run another command of ``lading`` with this server's variables, e.g. ``run("collect", "--dry-run")``.

        A server with a configuration file has no variables: hand over ``registry.configuration`` as the command asks.
        """
        variables = {name: value for name, value in self.environment.items() if value is not None}
        return run([PROGRAM, *words], environment=variables, check=check, timeout=timeout)
