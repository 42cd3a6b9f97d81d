"""A request in good form for every route there is, made from the tables of routes themselves."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lading.api import token
from lading.api.distribution import routes
from lading.api.harbor import browsers, face
from lading.api.harbor.call import BASE
from lading.api.harbor.route import Route
from lading.api.harbor.routes import ROUTES
from tests.support.accounts import ADMIN, PASSWORD
from tests.support.images import MANIFEST, Image, digest_of

REPOSITORY = "fuzzed/app"
AUTHORIZATION = b"Basic " + base64.b64encode(f"{ADMIN}:{PASSWORD}".encode())
_UPLOAD = "11111111-2222-4333-8444-555555555555"
_PATHS = {
    "project_name_or_id": "fuzzed",
    "project_name": "fuzzed",
    "repository_name": "app",
    "reference": "latest",
    "tag_name": "latest",
    "meta_name": "public",
    "addition": "build_history",
    "job_type": "all",
    "user_id": "3",  # not the administrator, who must go on
}
"""What stands in a path; numbers are 1."""
_ARGUMENTS = {
    "page": "1",
    "page_size": "10",
    "q": "name=~a,id=[1~9]",
    "sort": "-name",
    "scope": "p",
    "project_id": "1",
    "username": "a",
    "groupname": "a",
    "name": "a",
    "public": "true",
    "owner": "admin",
    "project_name": "fuzzed",
}
_TEXTS = {
    "username": "somebody",
    "password": "Another-word-1",
    "new_password": "Another-word-2",
    "email": "a@example.org",
    "project_name": "fuzzed",
    "url": "http://127.0.0.1:9",
    "ldap_url": "ldap://127.0.0.1:9",
    "cron": "0 0 0 * * *",
    "type": "docker-registry",
    "color": "#FFFFFF",
    "scope": "g",
    "issuer": "https://127.0.0.1:9",
    "namespace": "fuzzed",
    "resource": "repository",
    "action": "pull",
    "kind": "project",
    "cve_id": "CVE-2024-1",
}


def requests(image: Image) -> list[bytes]:
    """All of them, those that delete something last. ``image`` is what they push and ask for."""
    made = [*_distribution(image), *_harbor(), *_besides()]
    return sorted(made, key=lambda raw: raw.startswith(b"DELETE"))


def request(method: str, target: str, body: bytes | None = None, media_type: str = "application/json") -> bytes:
    """Its bytes, sent by the administrator."""
    length = "" if body is None else f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\n"
    head = f"{method} {target} HTTP/1.1\r\nhost: x\r\naccept: */*\r\n{length}authorization: ".encode()
    return head + AUTHORIZATION + b"\r\n\r\n" + (body or b"")


def _distribution(image: Image) -> Iterator[bytes]:
    layer = image.layers[0]
    for route in routes.ROUTES:
        for method in route.methods:
            path = route.path.replace("<name>", REPOSITORY).replace("<digest>", layer.digest)
            path = path.replace("<reference>", _UPLOAD if route is routes.UPLOAD else "latest")
            match method:
                case "POST":
                    yield request(method, path)
                    yield request(method, f"{path}?digest={layer.digest}", layer.data, "application/octet-stream")
                    yield request(method, f"{path}?mount={layer.digest}&from={REPOSITORY}")
                case "PUT" if route is routes.MANIFEST:
                    yield request(method, path, image.manifest.data, MANIFEST)
                case "PUT" | "PATCH":
                    yield request(
                        method, f"{path}?digest={digest_of(b'x')}&_state=AAAA", b"x", "application/octet-stream"
                    )
                case _:
                    yield request(method, f"{path}?n=2&last=a")


def _harbor() -> Iterator[bytes]:
    for route in ROUTES:
        body = None if route.body is None else json.dumps(_sample(route)).encode()
        yield request(route.method, BASE + _path(route) + _query(route), body)


def _path(route: Route) -> str:
    parts = (part for part in route.path.split("/"))
    return "/".join(_PATHS.get(part[1:-1], "1") if part.startswith("{") else part for part in parts)


def _query(route: Route) -> str:
    return "?" + "&".join(f"{name}={_ARGUMENTS.get(name, 'true')}" for name in route.query) if route.query else ""


def _sample(route: Route) -> Any:
    if route.path == "/configurations":
        return {"auth_mode": "db_auth", "read_only": False, "token_expiration": 30, "ldap_url": "ldap://127.0.0.1:9"}
    schema = msgspec.json.schema(route.body)
    return _value(schema, schema.get("$defs", {}), "")


def _value(schema: Mapping[str, Any], defined: Mapping[str, Any], name: str) -> Any:
    """Something that a schema allows, all it knows included."""
    if "$ref" in schema:
        return _value(defined[schema["$ref"].rpartition("/")[2]], defined, name)
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], defined, name)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            more = schema.get("additionalProperties")
            inner = {key: _value(each, defined, key) for key, each in schema.get("properties", {}).items()}
            return inner | ({"public": _value(more, defined, "public")} if isinstance(more, dict) else {})
        case "array":
            return [_value(schema.get("items", {}), defined, name)]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _TEXTS.get(name, "a")


def _besides() -> Iterator[bytes]:
    yield request("GET", "/")
    yield request("GET", "/v1/_ping")
    yield request("GET", "/v1/search?q=app&n=5&page=1")
    for served in token.PATHS:
        yield request("GET", served.decode())
    yield request("GET", f"/service/token?service=lading&scope=repository:{REPOSITORY}:pull,push&offline_token=true")
    form = f"grant_type=password&username={ADMIN}&password={PASSWORD}&scope=repository:{REPOSITORY}:pull&access_type=offline"
    yield request("POST", "/service/token", form.encode(), "application/x-www-form-urlencoded")
    for kind in ("refresh_token", token.EXCHANGE):
        form = f"grant_type={kind}&refresh_token=a&subject_token=a.b.c&subject_token_type=jwt&scope=registry:catalog:*"
        yield request("POST", "/service/token", form.encode(), "application/x-www-form-urlencoded")
    for path in face._OPEN:
        yield request("GET", path)
    for path in browsers.PATHS:
        yield request("GET", path)
        form = f"principal={ADMIN}&password={PASSWORD}&username=a&code=a&state=a"
        yield request("POST", path, form.encode(), "application/x-www-form-urlencoded")
