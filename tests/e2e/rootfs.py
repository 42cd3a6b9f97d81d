"""A base image without a network: the files of Debian packages that are installed here, as a tar for ``docker import``."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.process import run

_LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/")
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # made at installation, so no package has it; Debian's pip reads it
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def write_rootfs(path: Path, packages: Sequence[str]) -> Path:
    """Write *packages* and all they depend on, as they are installed on this machine."""
    with tarfile.open(path, "w") as tar:
        for name in (name for name in _MERGED if Path("/", name).is_symlink()):
            tar.add(f"/{name}", name)
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(temporary)
        for file in sorted({*_files(closure(packages)), _AUTHORITIES} - {f"/{name}" for name in _MERGED}):
            tar.add(file, file.lstrip("/"), recursive=False)
    return path


def closure(packages: Sequence[str]) -> set[str]:
    """The packages and everything they need, of what is installed."""
    form = "${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    needs: dict[str, list[list[str]]] = {}
    provided: dict[str, str] = {}
    for line in run(["dpkg-query", "--show", f"--showformat={form}"]).stdout.splitlines():
        package, provides, depends = line.split("\t")
        needs[package] = [re.findall(r"(?:^|\|)\s*([a-z0-9][a-z0-9+.-]+)", group) for group in depends.split(",")]
        provided.update(dict.fromkeys(re.findall(r"(?:^|, )([a-z0-9][a-z0-9+.-]+)", provides), package))
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        package = waiting.pop()
        if package not in found:
            assert package in needs, f"{package} is not installed here"
            found.add(package)
            for alternatives in needs[package]:
                known = [name if name in needs else provided.get(name, "") for name in alternatives]
                waiting += [name for name in known if name][:1]
    return found


def _files(packages: set[str]) -> Iterator[str]:
    """Every file and link of the packages, below the directory it really lies in (``/bin`` may be a link)."""
    for line in run(["dpkg-query", "--listfiles", *sorted(packages)]).stdout.splitlines():
        path = Path(line)
        if line.startswith("/") and not line.startswith(_LEFT_OUT) and (path.is_symlink() or path.is_file()):
            yield str(path.parent.resolve() / path.name)
