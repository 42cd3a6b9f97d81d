"""The registries of the world, each as far as it differs from the plain one: a table for the contract suite."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from lading.remotes.adapters.acr import AUDIENCE, NOBODY
from tests.support.scripted import Answer, Asked, json_answer
from tests.support.vendor import Login, Vendor, basic, form, paged, problem


class Hub(Vendor):
    """Docker Hub: no catalog, a DELETE in its own API only, pulls counted, its protocol at another host than its name."""

    host = "registry-1.docker.io"
    name = "docker.io"
    adapter = "DockerHub"
    deletes_manifests = False
    service = "registry.docker.io"
    logins: ClassVar[Mapping[str, Login]] = {"access token": ("alice", "dckr_pat_x")}
    namespace = "alice"
    lists_all = False

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {
            **super().hosts,
            "auth.docker.io": self.token,
            "hub.docker.com": self.api,
            "index.docker.io": self.index,
        }

    def lacks(self, asked: Asked, scope: str) -> Answer | None:
        answer = super().lacks(asked, scope)
        if answer is None:
            return None
        challenge = answer.headers["www-authenticate"].replace(f"https://{self.host}", "https://auth.docker.io")
        return problem(401, "UNAUTHORIZED", "authentication required", **{"www-authenticate": challenge})

    def catalog(self, asked: Asked) -> Answer:
        return problem(401, "UNAUTHORIZED", "authentication required")

    def manifest(self, asked: Asked, name: str, reference: str) -> Answer:
        answer = super().manifest(asked, name, reference)
        left = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
        return Answer(answer.status, answer.body, {**answer.headers, **left})

    def delete(self, name: str, reference: str, digest: str) -> Answer:
        return problem(405, "UNSUPPORTED", "The operation is unsupported.")

    def index(self, asked: Asked) -> Answer:
        word = asked.query["q"][0]
        return json_answer({"results": [{"name": name, "star_count": 1} for name in self.manifests if word in name]})

    def api(self, asked: Asked) -> Answer:
        if asked.path == "/v2/auth/token":
            given = json.loads(asked.read())
            taken = self.knows(given["identifier"], given["secret"])
            return json_answer({"access_token": "jwt"}) if taken else json_answer({"detail": "Incorrect"}, 401)
        signed = asked.headers.get("authorization") == "Bearer jwt"
        found = re.fullmatch(r"/v2/repositories/([^/]+/[^/]+)/tags/([^/]+)/", asked.path)
        if found and asked.method == "DELETE":
            if not signed:
                return json_answer({"message": "unauthorized"}, 401)
            return Answer(204) if self.tags[found[1]].pop(found[2], "") else json_answer({"message": "not found"}, 404)
        owned = [name for name in self.manifests if asked.path == f"/v2/repositories/{name.partition('/')[0]}/"]
        if not owned:
            return json_answer({"message": "object not found"}, 404)
        names = [name.partition("/")[2] for name in owned if signed or name == self.public]
        return json_answer({"count": len(names), "next": None, "results": [{"name": name} for name in names]})


class GitHub(Vendor):
    """ghcr.io: a challenge that names an example, no catalog, no DELETE; the Packages API for both."""

    host = service = "ghcr.io"
    adapter = "GHCR"
    logins: ClassVar[Mapping[str, Login]] = {
        "personal access token": ("alice", "ghp_x"),
        "token of a job": ("github-actions", "ghs_x"),
        "any name beside a token": ("unset", "ghp_x"),
    }
    namespace = "octo-org"
    lists_all = searches = untags = False
    variables: ClassVar[Mapping[str, str]] = {"GITHUB_TOKEN": "ghs_x", "GITHUB_ACTOR": "octocat"}

    def __init__(self) -> None:
        super().__init__()
        self.owners = {self.namespace: "Organization"}

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {**super().hosts, "api.github.com": self.api}

    def knows(self, user: str, password: str) -> bool:
        return bool(user) and password in {"ghp_x", "ghs_x"}

    def lacks(self, asked: Asked, scope: str) -> Answer | None:
        return super().lacks(asked, scope if scope.startswith("repository:") else "repository:user/image:pull")

    def token(self, asked: Asked) -> Answer:
        user, _ = basic(asked)
        if any(not self.may(user, scope) or scope.startswith("registry:") for scope in asked.query.get("scope", [])):
            return problem(403, "DENIED", "requested access to the resource is denied")
        return super().token(asked)

    def registry(self, asked: Asked) -> Answer:
        if asked.path == "/v2/" and asked.headers.get("authorization", "").startswith("Bearer "):
            return Answer()
        return super().registry(asked)

    def delete(self, name: str, reference: str, digest: str) -> Answer:
        return problem(405, "UNSUPPORTED", "The operation is unsupported.")

    def api(self, asked: Asked) -> Answer:
        assert asked.headers["accept"] == "application/vnd.github+json"
        assert asked.headers["x-github-api-version"] == "2022-11-28"
        word, _, token = asked.headers.get("authorization", "").partition(" ")
        if word != "Bearer" or not self.knows("-", token):
            return json_answer({"message": "Bad credentials"}, 401)
        if found := re.fullmatch(r"/users/([^/]+)", asked.path):
            kind = self.owners.get(found[1])
            return (
                json_answer({"login": found[1], "type": kind}) if kind else json_answer({"message": "Not Found"}, 404)
            )
        found = re.fullmatch(r"/(orgs|users)/([^/]+)/packages(?:/container/([^/]+)/versions(?:/(\d+))?)?", asked.path)
        assert found
        kinds, owner, package, version = found.groups()
        if self.owners.get(owner) != {"orgs": "Organization", "users": "User"}[kinds]:
            return json_answer({"message": "Not Found"}, 404)
        if not package:
            assert asked.query["package_type"] == ["container"]
            names = [name.partition("/")[2] for name in sorted(self.manifests) if name.startswith(f"{owner}/")]
            return paged(asked, names, self.page, lambda some: [{"name": name} for name in some])
        name = f"{owner}/{unquote(package)}"
        if name not in self.manifests:
            return json_answer({"message": "Package not found."}, 404)
        if version:
            assert asked.method == "DELETE"
            if len(self.manifests[name]) == 1:
                words = "You cannot delete the last tagged version of a package. You must delete the package instead."
                return json_answer({"message": words}, 400)
            self.forget(name, list(self.manifests[name])[int(version)])
            return Answer(204)
        return json_answer([self._version(name, number) for number in range(len(self.manifests[name]))])

    def _version(self, name: str, number: int) -> dict[str, Any]:
        digest = list(self.manifests[name])[number]
        tags = [tag for tag, one in self.tags[name].items() if one == digest]
        return {"id": number, "name": digest, "metadata": {"package_type": "container", "container": {"tags": tags}}}


class Azure(Vendor):
    """Azure's: an exchange for logins of Entra ID, a scope of its own for lists of tags, tags deleted under /acr/v1."""

    host = service = "lading.azurecr.io"
    adapter = "ACR"
    realm = "/oauth2/token"
    listing = "metadata_read"
    anonymous = False  # unless the registry is told otherwise
    logins: ClassVar[Mapping[str, Login]] = {
        "service principal": ("72f988bf-86f1-41af-91ab-2d7cd011db47", "client~secret"),
        "admin user": ("lading", "admin+password"),
        "repository token": ("token-1", "x/y"),
    }
    variables: ClassVar[Mapping[str, str]] = {
        "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "AZURE_CLIENT_ID": "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "AZURE_CLIENT_SECRET": "client~secret",
    }

    def __init__(self) -> None:
        super().__init__()
        claims = (
            base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + 3 * 3600}).encode()).decode().rstrip("=")
        )
        self.refresh = f"e30.{claims}.x"
        self.exchanged: list[dict[str, str]] = []

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {**super().hosts, "login.microsoftonline.com": self.entra}

    def knows(self, user: str, password: str) -> bool:
        return super().knows(user, password) or (user, password) == (NOBODY, self.refresh)

    def token(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            given = form(asked)
            if given["grant_type"] != "refresh_token" or given["service"] != self.service:
                return problem(400, "UNSUPPORTED", "grant_type")
            if given["refresh_token"] != self.refresh:
                return problem(401, "UNAUTHORIZED", "invalid refresh token")
            return json_answer({"access_token": self.sealed("entra", given.get("scope", "").split())})
        answer = super().token(asked)
        if answer.status != 200:
            return answer
        assert answer.body is not None
        return json_answer({"access_token": json.loads(answer.body)["token"]})

    def own(self, asked: Asked) -> Answer:
        if asked.path == "/oauth2/exchange" and asked.method == "POST":
            given = form(asked)
            self.exchanged.append(given)
            if given["access_token"] != "entra-token":
                return problem(401, "UNAUTHORIZED", "AAD access token is not valid")
            return json_answer({"refresh_token": self.refresh})
        if found := re.fullmatch(r"/acr/v1/(.+)/_tags/([^/]+)", asked.path):
            assert asked.method == "DELETE"
            if refused := self.lacks(asked, f"repository:{found[1]}:delete"):
                return refused
            return Answer(202) if self.tags[found[1]].pop(found[2], "") else problem(404, "TAG_UNKNOWN", "no such tag")
        return super().own(asked)

    def delete(self, name: str, reference: str, digest: str) -> Answer:
        if ":" not in reference:
            return problem(400, "DIGEST_INVALID", "a manifest is deleted by its digest")
        return super().delete(name, reference, digest)

    def entra(self, asked: Asked) -> Answer:
        """The two addresses that azure-identity asks with a client's secret."""
        tenant = self.variables["AZURE_TENANT_ID"]
        base = f"https://login.microsoftonline.com/{tenant}"
        if asked.path == f"/{tenant}/v2.0/.well-known/openid-configuration":
            return json_answer(
                {
                    "issuer": f"{base}/v2.0",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                }
            )
        assert asked.path == f"/{tenant}/oauth2/v2.0/token"
        given = form(asked)
        assert given["scope"] == AUDIENCE
        if given["client_secret"] != "client~secret":
            return json_answer({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret"}, 401)
        return json_answer({"token_type": "Bearer", "expires_in": 3599, "access_token": "entra-token"})


class Google(Vendor):
    """gcr.io: no POST for tokens, lists of tags that tell what lies below, manifests that go after their tags."""

    host = service = "gcr.io"
    adapter = "GCR"
    realm = "/v2/token"
    namespace = "a-project"
    deletes_tagged = False
    logins: ClassVar[Mapping[str, Login]] = {
        "key": ("_json_key", '{"type": "service_account", "private_key_id": "1"}'),
        "key in base64": ("_json_key_base64", base64.b64encode(b'{"type": "service_account"}').decode()),
        "access token": ("oauth2accesstoken", "ya29.x"),
    }

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {**super().hosts, "oauth2.googleapis.com": self.oauth}

    def list(self, asked: Asked, name: str) -> Answer:
        below = sorted(
            {one.removeprefix(f"{name}/").partition("/")[0] for one in self.tags if one.startswith(f"{name}/")}
        )
        tags = self.tags.get(name, {})
        if not below and name not in self.tags:
            return problem(404, "NAME_UNKNOWN", f'Repository "{name}" not found')
        listed = {
            digest: {
                "mediaType": kind,
                "tag": [tag for tag, one in tags.items() if one == digest],
                "imageSizeBytes": "1",
            }
            for digest, (kind, _) in self.manifests.get(name, {}).items()
        }
        return json_answer({"name": name, "child": below, "tags": sorted(tags), "manifest": listed})

    def oauth(self, asked: Asked) -> Answer:
        assert asked.path == "/token"
        given = form(asked)
        assert given["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return json_answer({"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"})


class Artifact(Google):
    """Artifact Registry: the same at other hosts, with a repository around images and no list of everything."""

    host = service = "europe-west1-docker.pkg.dev"
    namespace = "a-project/a-repository"
    lists_all = searches = False

    def catalog(self, asked: Asked) -> Answer:
        return problem(404, "NAME_UNKNOWN", "not here")


class GoHarbor(Vendor):
    """A Harbor: known by its token service; its catalog for administrators only, so its API v2.0 in place of that."""

    host = "harbor.example.com"
    adapter = "Harbor"
    realm = "/service/token"
    service = "harbor-registry"
    logins: ClassVar[Mapping[str, Login]] = {
        "user": ("alice", "Harbor12345"),
        "robot": ("robot$ci", "robot-secret"),
        "robot of a project": ("robot$team+ci", "robot-secret"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.projects = {self.namespace}

    def catalog(self, asked: Asked) -> Answer:
        return self.lacks(asked, "registry:catalog:*") or problem(403, "DENIED", "requested access is denied")

    def registry(self, asked: Asked) -> Answer:
        project = asked.path.removeprefix("/v2/").partition("/")[0]
        if asked.method in {"POST", "PUT"} and asked.path.startswith("/v2/") and project not in self.projects:
            return self.lacks(asked, "registry::") or problem(404, "NOT_FOUND", f"project {project} not found")
        return super().registry(asked)

    def own(self, asked: Asked) -> Answer:
        if not asked.path.startswith("/api/v2.0/"):
            return super().own(asked)
        user, password = basic(asked)
        known = self.knows(user, password)
        assert not asked.headers.get("authorization", "").startswith("Bearer "), (
            "the API takes no token of the registry's"
        )
        if (user or password) and not known:
            return problem(401, "UNAUTHORIZED", "unauthorized")
        path = asked.path.removeprefix("/api/v2.0")
        visible = [name for name in sorted(self.manifests) if known or name == self.public]
        rows = lambda names: [{"name": name} for name in names]  # noqa: E731 - short as it is
        if path == "/repositories":
            return paged(asked, visible, self.page, rows)
        if path == "/search":
            hits = [{"repository_name": name} for name in visible if asked.query["q"][0] in name]
            return json_answer({"project": [], "repository": hits})
        if path == "/projects" and asked.method == "HEAD":
            return Answer(200 if asked.query["project_name"][0] in self.projects else 404)
        if not known and asked.method != "GET":
            return problem(401, "UNAUTHORIZED", "unauthorized")
        if path == "/projects":
            given = json.loads(asked.read())
            assert given["metadata"] == {"public": "false"}
            self.projects.add(given["project_name"])
            return Answer(201)
        if found := re.fullmatch(r"/projects/([^/]+)/repositories", path):
            return paged(asked, [name for name in visible if name.startswith(f"{found[1]}/")], self.page, rows)
        place = re.fullmatch(r"/projects/([^/]+)/repositories/([^/]+)/artifacts/([^/]+)/tags/([^/]+)", path)
        assert place
        assert asked.method == "DELETE"
        name = f"{place[1]}/{unquote(unquote(place[2]))}"
        return Answer(200) if self.tags.get(name, {}).pop(place[4], "") else problem(404, "NOT_FOUND", "tag not found")


class RedHatQuay(Vendor):
    """quay.io: robots and OAuth tokens as users with names of their own, a catalog of what a login may see, search by API v1."""

    host = service = "quay.io"
    adapter = "Quay"
    realm = "/v2/auth"
    logins: ClassVar[Mapping[str, Login]] = {
        "robot": ("team+ci", "ROBOT-SECRET"),
        "user": ("alice", "encrypted-password"),
        "OAuth token": ("$oauthtoken", "oauth-secret"),
    }
    page = 1

    def own(self, asked: Asked) -> Answer:
        if not asked.path.startswith("/api/v1/"):
            return super().own(asked)
        token = asked.headers.get("authorization", "")
        assert token in {"", "Bearer oauth-secret"}, "the API takes OAuth tokens"
        visible = [name.partition("/")[2] for name in sorted(self.manifests) if token or name == self.public]
        if asked.path == "/api/v1/find/repositories":
            found = [name for name in visible if asked.query["query"][0] in name]
            return json_answer(
                {
                    "results": [
                        {"kind": "repository", "namespace": {"name": self.namespace}, "name": name} for name in found
                    ]
                }
            )
        assert asked.path == "/api/v1/repository"
        assert asked.query["namespace"] == [self.namespace]
        assert token or asked.query["public"] == ["true"]
        start = int(asked.query.get("next_page", ["0"])[0])
        more = {"next_page": str(start + 1)} if start + 1 < len(visible) else {}
        return json_answer({"repositories": [{"namespace": self.namespace, "name": visible[start]}], **more})


class SomeGitLab(Vendor):
    """A GitLab: known by its token service, which is at another host; lists and deletions by that host's API."""

    host = "registry.gitlab.example.com"
    adapter = "GitLab"
    realm = "/jwt/auth"
    service = "container_registry"
    namespace = "group/project"
    lists_all = searches = False
    logins: ClassVar[Mapping[str, Login]] = {
        "access token": ("alice", "glpat-x"),
        "project access token": ("project_1_bot", "glpat-y"),
        "job": ("gitlab-ci-token", "job-token"),
        "deploy token": ("gitlab+deploy-token-1", "deploy"),
    }
    variables: ClassVar[Mapping[str, str]] = {
        "CI_REGISTRY": "registry.gitlab.example.com",
        "CI_REGISTRY_USER": "gitlab-ci-token",
        "CI_REGISTRY_PASSWORD": "job-token",
    }

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {**super().hosts, "gitlab.example.com": self.web}

    def lacks(self, asked: Asked, scope: str) -> Answer | None:
        answer = super().lacks(asked, scope)
        if answer is None:
            return None
        challenge = answer.headers["www-authenticate"].replace(f"https://{self.host}", "https://gitlab.example.com")
        return problem(401, "UNAUTHORIZED", "authentication required", **{"www-authenticate": challenge})

    def catalog(self, asked: Asked) -> Answer:
        return problem(401, "UNAUTHORIZED", "authentication required")

    def web(self, asked: Asked) -> Answer:
        if asked.path == self.realm:
            return self.token(asked)
        signed = (
            asked.headers.get("private-token") in {"glpat-x", "glpat-y"}
            or asked.headers.get("job-token") == "job-token"
        )
        path = unquote(asked.path).removeprefix("/api/v4/projects/")
        if not signed or not path.startswith(f"{self.namespace}/registry/repositories"):
            return json_answer({"message": "404 Project Not Found"}, 404)
        names = sorted(self.manifests)
        words = path.removeprefix(f"{self.namespace}/registry/repositories").strip("/").split("/")
        if words == [""]:
            rows = lambda some: [{"id": names.index(name), "path": name} for name in some]  # noqa: E731 - short as it is
            answer = paged(asked, names, self.page, rows)
            # GitLab names the whole address
            return Answer(
                200,
                answer.body,
                {
                    name: value.replace("<", f"<https://{asked.headers['host']}") if name == "link" else value
                    for name, value in answer.headers.items()
                },
            )
        tags = self.tags[names[int(words[0])]]
        if words[2] not in tags:
            return json_answer({"message": "404 Tag Not Found"}, 404)
        if asked.method == "DELETE":
            del tags[words[2]]
        return json_answer({"name": words[2]})


VENDORS: tuple[type[Vendor], ...] = (
    Vendor, Hub, GitHub, Azure, Google, Artifact, GoHarbor, RedHatQuay, SomeGitLab,
)  # fmt: skip
