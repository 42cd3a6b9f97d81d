"""A registry under test, whichever program it is: where it listens, when it is ready, what it logged."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import httpx2

from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.process import Process

_ACCESS = re.compile(r'"([A-Z]+) (/\S*) HTTP/\d(?:\.\d)?" (\d{3}) (?:\d+|-)')


class Access(NamedTuple):
    """A line of the access log, in the combined form registry:2 writes: *path* with its query."""

    method: str
    path: str
    status: int


class RegistryServer(Process):
    """A registry on 127.0.0.1, with everything it writes under *root* (made when absent).

    ``storage`` is its root directory for blobs, ``url`` has the scheme, ``host`` is what goes before a repository's
    name. With *ca* (the path of a PEM file) it is expected to speak TLS.
    """

    def __init__(
        self,
        root: Path,
        argv: Sequence[str | Path],
        *,
        port: int | None = None,
        environment: Mapping[str, str | None] | None = None,
        ca: Path | None = None,
        timeout: float = 30,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(
            argv, log=root / "server.log", ready=self._answers, environment=environment, directory=root, timeout=timeout
        )
        self.root = root
        self.storage = root / "storage"
        self.port = port or free_port()
        self.ca = ca
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if ca else 'http'}://{self.host}"

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """What httpx2 takes as ``verify``: trust in this server's authority alone."""
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else True

    def access_log(self) -> list[Access]:
        """The requests answered so far.

        A line is written after its answer, by whichever process answered: a request of our own is sent behind, and
        the log is read once that is in it and nothing more comes.
        """
        marker = f"/v2/?settled={uuid4().hex}"
        httpx2.get(self.url + marker, verify=self.verify, trust_env=False, timeout=PATIENCE)
        deadline, before = time.monotonic() + PATIENCE, ""
        while marker not in self.output or self.output != before:
            assert time.monotonic() < deadline, f"no access log line for {marker} after {PATIENCE:g} s\n{self.tail()}"
            before = self.output
            time.sleep(0.1)
        lines = [Access(method, path, int(status)) for method, path, status in _ACCESS.findall(self.output)]
        return [line for line in lines if "?settled=" not in line.path]

    def _answers(self) -> bool:
        try:
            response = httpx2.get(f"{self.url}/v2/", verify=self.verify, timeout=2, trust_env=False)
        except httpx2.HTTPError:
            return False
        return response.status_code in (200, 401)

    def restart(self) -> Self:
        """Stop it in good order and start it again on the same port and storage."""
        self.stop()
        return self.start()


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """*base* with the values of *over* laid upon it, mapping by mapping; a value of None removes a key."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result
