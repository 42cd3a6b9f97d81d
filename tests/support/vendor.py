"""A vendor's registry as its documentation describes it: a small registry, and a table of where it goes its own way.

What a vendor answers is a class with other values, and methods for what it alone has. Everything happens in memory.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode

from lading.oci.digest import Digest
from tests.support import images
from tests.support.scripted import Answer, Asked, json_answer

_PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/(?P<rest>.*)")

VERSION = {"docker-distribution-api-version": "registry/2.0"}
"""What docker 20.10 looks for at ``/v2/``, which all of them send."""

Login = tuple[str, str]
"""User and password."""


class Vendor:
    """A registry that does everything as the specification proposes. ``public`` and ``private`` hold an image each."""

    host: ClassVar[str] = "registry.example.com"
    name: ClassVar[str] = ""
    """What users call it, where that is another."""
    adapter: ClassVar[str] = "Adapter"
    realm: ClassVar[str] = "/token"
    service: ClassVar[str] = "registry.example.com"
    logins: ClassVar[Mapping[str, Login]] = {"user": ("alice", "secret")}
    namespace: ClassVar[str] = "team"
    anonymous: ClassVar[bool] = True
    """Whether what is public is there without a login."""
    lists_all: ClassVar[bool] = True
    """Whether repositories are listed without a namespace."""
    searches: ClassVar[bool] = True
    untags: ClassVar[bool] = True
    """Whether a tag goes alone where its manifest has others."""
    listing: ClassVar[str] = "pull"
    """The action that a list of tags wants."""
    deletes_manifests: ClassVar[bool] = True
    deletes_tagged: ClassVar[bool] = True
    """Whether a manifest goes while it has tags."""
    variables: ClassVar[Mapping[str, str]] = {}
    """An environment in which there is a login without anybody having logged in."""
    page: ClassVar[int] = 2
    kind: ClassVar[str] = images.MANIFEST

    def __init__(self) -> None:
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.scopes: list[str] = []
        """Every scope a token was asked for with, in order."""
        self.limited = False
        for name in (self.public, self.private):
            self.fill(name)

    @property
    def public(self) -> str:
        return f"{self.namespace}/public"

    @property
    def private(self) -> str:
        return f"{self.namespace}/private"

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        """Everybody who takes part, by name."""
        return {self.host: self.registry}

    def fill(self, name: str) -> str:
        """An image of three tags, two of which are the same; the digest of those."""
        self.put(name, "v1", b"one")
        self.put(name, "latest", b"two")
        return self.put(name, "v2", b"two")

    def put(self, name: str, tag: str, data: bytes) -> str:
        kinds = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar")
        parts = [
            {"mediaType": kind, "digest": Digest.of(one), "size": len(one)}
            for kind, one in zip(kinds, (b"{}", data), strict=True)
        ]
        kind = self.kind
        document = {"schemaVersion": 2, "mediaType": kind, "config": parts[0], "layers": parts[1:]}
        raw = json.dumps(document).encode()
        digest = str(Digest.of(raw))
        self.blobs |= {str(Digest.of(one)): one for one in (b"{}", data)}
        self.manifests.setdefault(name, {})[digest] = (kind, raw)
        self.tags.setdefault(name, {})[tag] = digest
        return digest

    # ---- tokens

    def knows(self, user: str, password: str) -> bool:
        return (user, password) in self.logins.values()

    def token(self, asked: Asked) -> Answer:
        """``GET realm?service=…&scope=…``, with a Basic header or without."""
        if asked.method != "GET":
            return Answer(404)
        user, password = basic(asked)
        if (user or password) and not self.knows(user, password):
            return problem(401, "UNAUTHORIZED", "authentication required")
        assert asked.query.get("service") == [self.service]
        return json_answer({"token": self.sealed(user or "", asked.query.get("scope", []))})

    def sealed(self, user: str, scopes: list[str]) -> str:
        self.scopes += scopes
        return base64.urlsafe_b64encode(
            json.dumps([user, [one for one in scopes if self.may(user, one)]]).encode()
        ).decode()

    def may(self, user: str, scope: str) -> bool:
        return bool(user) or (self.anonymous and scope == f"repository:{self.public}:pull")

    def lacks(self, asked: Asked, scope: str) -> Answer | None:
        """A challenge where the request may not do what the scope says."""
        word, _, token = asked.headers.get("authorization", "").partition(" ")
        _, scopes = json.loads(base64.urlsafe_b64decode(token)) if word == "Bearer" else ("", [])
        kind, name, action = scope.split(":")
        granted = {(one.rpartition(":")[0], each) for one in scopes for each in one.rpartition(":")[2].split(",")}
        if word == "Bearer" and (not name or (f"{kind}:{name}", action) in granted):
            return None
        realm = f"https://{self.host}{self.realm}"
        challenge = f'Bearer realm="{realm}",service="{self.service}"' + (f',scope="{scope}"' if name else "")
        return problem(401, "UNAUTHORIZED", "authentication required", **{"www-authenticate": challenge})

    # ---- the registry

    def registry(self, asked: Asked) -> Answer:
        if asked.path == self.realm:
            return self.token(asked)
        if asked.path == "/v2/":
            return self.lacks(asked, "registry::") or Answer(200, b"", VERSION)
        if asked.path == "/v2/_catalog":
            return self.catalog(asked)
        found = _PATH.fullmatch(asked.path)
        if not found:
            return self.own(asked)
        name, kind, rest = found["name"], found["kind"], found["rest"]
        if kind == "tags":
            return self.lacks(asked, f"repository:{name}:{self.listing}") or self.list(asked, name)
        action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(asked.method, "push")
        if refused := self.lacks(asked, f"repository:{name}:{action}"):
            return refused
        if kind == "manifests":
            return self.manifest(asked, name, rest)
        if kind == "referrers":
            return problem(404, "UNSUPPORTED", "not here")
        return self.upload(asked, name) if kind == "blobs/uploads" else self.blob(asked, rest)

    def own(self, asked: Asked) -> Answer:
        """What this vendor alone has."""
        return Answer(404, b"404 page not found\n", {"content-type": "text/plain"})

    def catalog(self, asked: Asked) -> Answer:
        return self.lacks(asked, "registry:catalog:*") or paged(
            asked, sorted(self.manifests), self.page, lambda names: {"repositories": names}
        )

    def list(self, asked: Asked, name: str) -> Answer:
        if name not in self.tags:
            return problem(404, "NAME_UNKNOWN", "repository name not known to registry")
        return paged(asked, sorted(self.tags[name]), self.page, lambda tags: {"name": name, "tags": tags})

    def manifest(self, asked: Asked, name: str, reference: str) -> Answer:
        if asked.method == "PUT":
            raw = asked.read()
            digest = str(Digest.of(raw))
            self.manifests.setdefault(name, {})[digest] = (asked.headers["content-type"], raw)
            if ":" not in reference:
                self.tags.setdefault(name, {})[reference] = digest
            return Answer(201, b"", {"docker-content-digest": digest, "location": f"/v2/{name}/manifests/{digest}"})
        if self.limited:
            return problem(429, "TOOMANYREQUESTS", "slow down", **{"retry-after": "3600"})
        digest = reference if ":" in reference else self.tags.get(name, {}).get(reference, "")
        if digest not in self.manifests.get(name, {}):
            return problem(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if asked.method == "DELETE":
            return self.delete(name, reference, digest)
        kind, raw = self.manifests[name][digest]
        return Answer(200, raw, {"content-type": kind, "docker-content-digest": digest})

    def delete(self, name: str, reference: str, digest: str) -> Answer:
        if ":" not in reference:
            if not self.untags:
                return problem(405, "UNSUPPORTED", "The operation is unsupported.")
            del self.tags[name][reference]
            return Answer(202)
        if not self.deletes_tagged and digest in self.tags[name].values():
            return problem(400, "GOOGLE_MANIFEST_DANGLING_TAG", "Manifest is still referenced by tag")
        self.forget(name, digest)
        return Answer(202)

    def forget(self, name: str, digest: str) -> None:
        """A manifest goes, with every tag it has."""
        del self.manifests[name][digest]
        self.tags[name] = {tag: one for tag, one in self.tags[name].items() if one != digest}

    def blob(self, asked: Asked, digest: str) -> Answer:
        if digest not in self.blobs:
            return problem(404, "BLOB_UNKNOWN", "blob unknown")
        return Answer(200, self.blobs[digest], {"docker-content-digest": digest})

    def upload(self, asked: Asked, name: str) -> Answer:
        if asked.method == "POST":
            return Answer(202, b"", {"location": f"/v2/{name}/blobs/uploads/1?state=x", "range": "0-0"})
        assert asked.method == "PUT", "blobs in these tests are small"
        data = asked.read()
        digest = asked.query["digest"][0]
        assert Digest.of(data) == digest
        self.blobs[digest] = data
        return Answer(201, b"", {"docker-content-digest": digest, "location": f"/v2/{name}/blobs/{digest}"})


def problem(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error as the distribution specification has it."""
    return json_answer({"errors": [{"code": code, "message": message}]}, status, **VERSION, **headers)


def basic(asked: Asked) -> Login:
    """User and password of a request; empty where it has none."""
    word, _, pair = asked.headers.get("authorization", "").partition(" ")
    user, _, password = base64.b64decode(pair).decode().partition(":") if word == "Basic" else ("", "", "")
    return user, password


def form(asked: Asked) -> dict[str, str]:
    """The body of a form, each field once."""
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    return {name: values[0] for name, values in parse_qs(asked.read().decode(), strict_parsing=True).items()}


def paged(asked: Asked, names: list[str], most: int, shape: Callable[[list[str]], Any]) -> Answer:
    """So many names at a time, after ``last``; a ``Link`` says whether there are more."""
    last = asked.query.get("last", [""])[0]
    left = [name for name in names if name > last]
    here = left[:most]
    query = urlencode({**asked.query, "n": most, "last": here[-1:]}, doseq=True)
    more = {"link": f'<{asked.path}?{query}>; rel="next"'} if left[most:] else {}
    return json_answer(shape(here), 200, **more)
