"""The Debian packages tests need, and the failure when a program of theirs is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("debian.txt")

PACKAGE_OF = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "ctr": "containerd",
    "htpasswd": "apache2-utils",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
    "tini-static": "tini",
    "postgres": "postgresql",
    "initdb": "postgresql",
    "setpriv": "util-linux",
}
"""Program → package, where the names differ."""


def debian_packages() -> list[str]:
    """The names in ``debian.txt``, in its order."""
    lines = LIST.read_text().splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def program(name: str) -> str:
    """The path of the program *name*; a test that needs one which is not there fails, it is not skipped."""
    path = os.environ["PATH"] + os.pathsep + "/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        package = PACKAGE_OF.get(name, name)
        pytest.fail(f"{name} is not installed: this test runs it. Install it with: apt-get install {package}", False)
    return found
