"""Whom we trust: the system's authorities (or ``SSL_CERT_FILE``, ``SSL_CERT_DIR``), and docker's folders for a host.

As docker has it, ``certs.d/HOST:PORT/`` holds authorities in ``*.crt`` and our own certificate in ``NAME.cert`` with
``NAME.key``; it lies in ``/etc/docker``, ``/etc/containers`` or, for one user, in ``~/.docker`` and
``~/.config/containers``.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from lading.errors import LocalError


def context(host: str, environment: Mapping[str, str], *, verify: bool = True, ca: str = "") -> ssl.SSLContext:
    """What a connection to ``host[:port]`` is checked with; ``ca`` is PEM to trust too."""
    made = ssl.create_default_context()
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    for folder in folders(host, environment):
        _add(made, folder)
    if ca:
        try:
            made.load_verify_locations(cadata=ca)
        except (ssl.SSLError, ValueError):
            raise LocalError(f"the certificate given for {host} is no PEM text") from None
    return made


def folders(host: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where certificates for a host may lie; those that are there."""
    home = Path(environment.get("HOME") or Path.home())
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    for base in (docker, config / "containers", Path("/etc/docker"), Path("/etc/containers")):
        if (folder := base / "certs.d" / host).is_dir():
            yield folder


def _add(made: ssl.SSLContext, folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        try:
            if file.suffix == ".crt":
                made.load_verify_locations(cafile=file)
            elif file.suffix == ".cert":
                made.load_cert_chain(file, file.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            why = (
                os.strerror(error.errno)
                if isinstance(error, FileNotFoundError) and error.errno
                else "it is no PEM file"
            )
            raise LocalError(f"cannot use the certificate {file}: {why}") from None
