"""Have the Debian packages that ``tests/support/debian.txt`` names: ``python -m tools.debian``.

As root, what is missing is installed, and no service is
started or left to start at the next boot: the tests start their own. As anyone else, what is missing is named.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.packages import debian_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLICY = Path("/usr/sbin/policy-rc.d")  # Debian's maintainer scripts ask it before they start anything
STATUS = Path("/var/lib/dpkg/status")


def main() -> int:
    missing = absent(debian_packages())
    if not missing:
        return 0
    if not shutil.which("apt-get"):
        print(f"This is not Debian: tests that need {', '.join(missing)} will fail unless they are on PATH.")
        return 0
    if os.geteuid() != 0:
        print(
            "Some tests drive real clients and other registries, which are not installed here. As root:\n"
            f"    apt-get install --no-install-recommends {' '.join(missing)}\n"
            "Without them those tests fail. To run the others: make test ARGS='-m \"not e2e and not peer\"'",
            flush=True,
        )
        return 0
    return install(missing)


def absent(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that are not installed; all of them where there is no dpkg."""
    there = installed()
    return [name for name in map(offered, packages) if name and name not in there]


def offered(package: str) -> str:
    """The name of a package; empty for one that not every Debian has (``name?``) where this one does not."""
    name = package.rstrip("?")
    known = name == package or not shutil.which("apt-cache") or apt_knows(name)
    return name if known else ""


def apt_knows(package: str) -> bool:
    answer = subprocess.run(["apt-cache", "show", "--no-all-versions", package], capture_output=True, check=False)
    return answer.returncode == 0


def installed() -> set[str]:
    text = STATUS.read_text(encoding="utf-8", errors="replace") if STATUS.exists() else ""
    return set(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Status: \S+ \S+ installed$", text, re.MULTILINE))


def install(packages: Sequence[str]) -> int:
    print(f"Installing from Debian, for the tests: {' '.join(packages)}", flush=True)
    before = installed()
    with nothing_started():
        for command in (["update"], ["install", "-y", "--no-install-recommends"]):
            # which packages this Debian has is known only after the update
            wanted = absent(debian_packages()) if command[0] == "install" else []
            answer = apt_get([*command, *wanted])
            if answer.returncode != 0:
                print(f"apt-get {' '.join(command)} failed:\n{answer.stdout}", file=sys.stderr)
                return 1
    if shutil.which("systemctl"):
        for unit in (unit for package in installed() - before for unit in units_of(package)):
            subprocess.run(["systemctl", "--quiet", "disable", unit], stderr=subprocess.DEVNULL, check=False)
    return 0


def apt_get(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def nothing_started() -> Iterator[None]:
    """While this lasts, an installed service is not started (exit status 101: "not allowed")."""
    if POLICY.exists():  # the machine has a policy of its own
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def units_of(package: str) -> list[str]:
    """The services, sockets and timers a package has brought."""
    answer = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False)
    return re.findall(
        r"^(?:/usr)?/lib/systemd/system/([^/@\n]+\.(?:service|socket|timer))$", answer.stdout, re.MULTILINE
    )


if __name__ == "__main__":
    sys.exit(main())
