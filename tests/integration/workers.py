"""Servers with several workers, seen from outside: which worker answers, and which processes there are."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2

from tests.support.http import Client
from tests.support.lading import Lading


def worker_of(response: httpx2.Response) -> str:
    """The worker that answered: the part of the request id that each process makes up when it starts."""
    return response.headers["x-request-id"].partition("-")[0]


@contextlib.contextmanager
def one_client_per_worker(
    registry: Lading, number: int = 2, auth: tuple[str, str] | None = None
) -> Iterator[list[Client]]:
    """Clients with one connection each, every one to another worker; the kernel deals connections out by chance."""
    limits = httpx2.Limits(max_connections=1, keepalive_expiry=None)  # another connection may reach another worker
    with ExitStack() as stack:
        found: dict[str, Client] = {}
        for _ in range(300):
            client = stack.enter_context(Client(registry, auth=auth, limits=limits))
            found.setdefault(worker_of(client.get("/v2/")), client)
            if len(found) == number:
                break
        assert len(found) == number, f"300 connections reached {len(found)} workers, not {number}"
        yield list(found.values())


def children(pid: int) -> set[int]:
    """The processes a process has started and that live."""
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def works_on(pid: int, location: str) -> bool:
    """Whether a process of a server has the file of the upload at this location open: the request has begun."""
    upload = location.partition("?")[0].rpartition("/")[2]
    for process in children(pid) or {pid}:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if upload in str(descriptor.readlink()):
                    return True
    return False


def memory(pid: int) -> int:
    """Resident bytes of the one worker of a server."""
    [worker] = children(pid)
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * resource.getpagesize()
