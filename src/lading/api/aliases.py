"""Other ways to name what is mirrored: as its own registry names it.

containerd says in ``?ns=`` whose name it asks for. dockerd says nothing, so a host name of this server may stand for
one upstream. Either way the prefix is put before the name, and what is cached is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lading.api.request import Request
from lading.errors import RepositoryUnknown
from lading.registry.pull import Pull


@dataclass(frozen=True)
class Aliases:
    """Which prefix is meant, by what a client says in ``ns`` and by the host it speaks to; all in small letters.

    ``own`` is what this registry is called, or empty.
    """

    namespaces: Mapping[str, str]
    hosts: Mapping[str, str]
    own: str = ""

    def of_host(self, request: Request) -> str:
        """The prefix that the host stands for a client speaks to; empty: none."""
        host = request.text(b"host").lower()
        return self.hosts.get(host) or self.hosts.get(host.rpartition(":")[0]) or ""

    async def prefix(self, request: Request, name: str, pull: Pull) -> str:
        """What is to be put before a repository's name; empty: nothing.

        A client that asks for a name of a registry which is not mirrored must not get what has that name here. One that
        was told our path for it (containerd's ``override_path``) has the prefix in the name already.
        """
        asked = (request.argument("ns") or "").lower()
        if not asked:
            return self.of_host(request)
        found = self.namespaces.get(asked)
        if found is not None:
            return "" if name.startswith(found) else found
        if asked in (self.own, request.text(b"host").lower()) or await pull.answers_for(asked, name):
            return ""
        raise RepositoryUnknown(f"no mirror here answers for {asked[:255]}", detail={"ns": asked[:255]})
