"""Names of repositories and tags (distribution spec, "Pulling manifests"), and references as docker reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lading.errors import NameInvalid, TagInvalid
from lading.oci.digest import Digest

MAX_NAME = 255
"""Longest repository name, in characters. Clients cap host and name together at 255."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


def is_name(text: str) -> bool:
    """Whether ``text`` may name a repository."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` may be a tag."""
    return _TAG.fullmatch(text) is not None


def repository(text: str) -> str:
    """``text`` if it may name a repository, else :class:`NameInvalid`."""
    if is_name(text):
        return text
    if len(text) > MAX_NAME:
        raise NameInvalid(f"repository name is {len(text)} characters long; the longest allowed is {MAX_NAME}")
    raise NameInvalid(
        f"invalid repository name {text!r}: its components are lower-case letters and digits, joined by a dot, one or "
        "two underscores or dashes, and separated by slashes",
        detail={"name": text},
    )


def tag(text: str) -> str:
    """``text`` if it may be a tag, else :class:`TagInvalid`."""
    if is_tag(text):
        return text
    raise TagInvalid(
        f"invalid tag {text[:160]!r}: a tag is 1 to 128 letters, digits, underscores, dots and dashes, and does not "
        "begin with a dot or a dash",
        detail={"tag": text[:160]},
    )


DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?", re.ASCII)
_HEX = re.compile(r"[a-f0-9]{64}", re.ASCII)


def is_host(text: str) -> bool:
    """Whether ``text`` may be a registry's ``host[:port]``."""
    return _HOST.fullmatch(text) is not None


@dataclass(frozen=True)
class Reference:
    """``[host/]repository[:tag][@digest]``, completed as docker does.

    ``host`` is ``docker.io`` where none is written, and there a ``repository`` of one word is below ``library/``.
    ``tag`` and ``digest`` are empty where none is written.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; :class:`NameInvalid`, ``TagInvalid`` or ``DigestInvalid`` say what is wrong with it."""
        text = text.removeprefix("docker://")
        if text.startswith(("https://", "http://")):
            raise NameInvalid(f"{text!r} is an address, not a name; write {text.partition('://')[2]}")
        rest, at, digest = text.partition("@")
        slash = rest.rfind("/")
        colon = rest.rfind(":")
        name, tagged = (rest[:colon], rest[colon + 1 :]) if colon > slash else (rest, None)
        host, repo = _split(name)
        if _HEX.fullmatch(text):
            raise NameInvalid(f"{text} is an image's ID; write a name, or NAME@sha256:{text}")
        if len(f"{host}/{repo}") > MAX_NAME:
            raise NameInvalid(f"{text[:80]}…: host and name together may have at most {MAX_NAME} characters")
        if not is_host(host):
            raise NameInvalid(f"{host!r} in {text!r} is no host[:port] of a registry")
        if repo.lower() != repo and is_name(repo.lower()):
            raise NameInvalid(f"{text!r}: the name of a repository must be lower-case: {repo.lower()}")
        repository(repo)
        return cls(host, repo, "" if tagged is None else tag(tagged), Digest.parse(digest) if at else "")

    @property
    def name(self) -> str:
        """Host and repository, complete: ``docker.io/library/busybox``."""
        return f"{self.host}/{self.repository}"

    @property
    def reference(self) -> str:
        """What stands in the URL of a manifest: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or DEFAULT_TAG

    def tagged(self, tag: str) -> Reference:
        """The same repository's other tag."""
        return replace(self, tag=tag, digest="")

    def at(self, digest: str) -> Reference:
        """The same repository's manifest of a digest."""
        return replace(self, tag="", digest=digest)

    @property
    def short(self) -> str:
        """Host and repository as a user writes them: ``busybox`` for ``docker.io/library/busybox``."""
        if self.host != DEFAULT_HOST:
            return self.name
        return self.repository.removeprefix("library/")

    def __str__(self) -> str:
        return self.short + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split(name: str) -> tuple[str, str]:
    """Host and repository: a first component with a dot, a colon or a capital, or ``localhost``, is a host."""
    first, slash, rest = name.partition("/")
    written = slash and (set(first) & {".", ":", "["} or first == "localhost" or first.lower() != first)
    host, repo = (first, rest) if written else (DEFAULT_HOST, name)
    if host == "index.docker.io":
        host = DEFAULT_HOST
    return host, f"library/{repo}" if host == DEFAULT_HOST and repo and "/" not in repo else repo
