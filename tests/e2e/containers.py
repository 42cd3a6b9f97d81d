"""podman and buildah with storage of the tests' own: they share all their options, as they share their libraries."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.packages import program
from tests.support.process import run

HTTP = "--tls-verify=false"


class Tool:
    """``podman`` or ``buildah`` on storage below *home*; its passwords are kept there, too."""

    def __init__(self, name: str, home: Path) -> None:
        if os.geteuid() != 0:
            pytest.fail(f"{name} mounts layers, so these tests need root; run them with sudo", pytrace=False)
        self.home = home
        # podman refuses a runroot of more than 50 characters, and pytest's folders may be longer
        runroot = Path(tempfile.mkdtemp(prefix="lading-"))
        atexit.register(shutil.rmtree, runroot, ignore_errors=True)
        self.argv: list[str | Path] = [
            program(name),
            f"--root={home}/root",
            f"--runroot={runroot}",
            "--storage-driver=vfs",
        ]
        if name == "podman":
            self.argv += [f"--tmpdir={home}/tmp", "--events-backend=none", "--cgroup-manager=cgroupfs"]
        (home / "auth.json").write_text("{}")
        registries = home / "registries.conf"
        registries.write_text('unqualified-search-registries = []\nshort-name-mode = "disabled"\n')
        self.environment = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "REGISTRY_AUTH_FILE": str(home / "auth.json"),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
        }

    def __call__(
        self, *words: str | Path, check: bool = True, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return run([*self.argv, *words], environment=self.environment, check=check, stdin=stdin, timeout=timeout)

    def image_id(self, name: str) -> str:
        """The identity of a local image: the digest of its configuration."""
        template = "{{.FromImageID}}" if "buildah" in str(self.argv[0]) else "{{.Id}}"
        return "sha256:" + self("inspect", "--type=image", "--format", template, name).stdout.strip()
