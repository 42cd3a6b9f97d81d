"""The API in OpenAPI 3.1: generated from the table of routes and the models, and served."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

import lading
from lading.api.harbor.call import BASE, Call
from lading.api.harbor.chores import Schedule
from lading.api.harbor.permission import ANYBODY, INSIDE, KNOWN, ONESELF, OPEN
from lading.api.harbor.problems import JSON
from lading.api.harbor.route import PAGE, Route
from lading.api.harbor.routes import ROUTES
from lading.api.request import Response

_ERRORS = {
    "400": "What was sent cannot be read, or is not allowed.",
    "401": "Nobody is logged in, or the credentials are wrong.",
    "403": "This account may not, or there is nothing that it could see.",
    "404": "It is not there.",
    "405": "This registry does not do that, or not now.",
    "409": "It is there already, or in use.",
    "412": "Something else has to be done first.",
    "413": "The body is too large.",
    "429": "Too many logins failed.",
    "431": "The request's path and headers are too large together.",
    "503": "Not now; Retry-After says when.",
}
_INTEGERS = {"page": 1, "page_size": 10, "project_id": None}
_FLAGS = frozenset(["public", "with_detail", "with_tag", "with_label", "with_accessory", "relative"])
_WORDS = {
    "page": "Which page, from 1 on.",
    "page_size": "Rows of a page, 100 at most.",
    "q": "Conditions with commas between them: name=a, name=~a, id=[1~9], id={1 2}, labels=(1 2).",
    "sort": "Fields with commas between them, a minus before those that go downwards.",
    "from": "project/repository:tag, or project/repository@digest.",
    "scope": "g or p for labels; /system or /project/1 for permissions.",
}
_NUMBERS = frozenset(["user_id", "group_id", "mid", "robot_id", "label_id", "gc_id", "purge_id", "id", "trust_id"])


async def get(call: Call) -> Response:
    """The document; where this registry is reached is in it."""
    prefix = call.services.manners.prefix
    return Response(200, [JSON, (b"cache-control", b"max-age=300")], msgspec.json.encode(document(prefix)))


@cache
def document(prefix: str = "") -> dict[str, Any]:
    """The whole of it."""
    models = [model for route in ROUTES for model in (route.answer, route.body) if model is not None]
    schemas, components = msgspec.json.schema_components(models, ref_template="#/components/schemas/{name}")
    shapes = dict(zip(map(id, models), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, shapes)
    error = {"type": "object", "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}
    components["Errors"] = {
        "type": "object",
        "required": ["errors"],
        "properties": {"errors": {"type": "array", "items": error}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lading",
            "version": lading.__version__,
            "description": "The part of Harbor's REST API v2.0 that this registry has.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": f"{prefix}{BASE}"}],
        "security": [{"basic": []}, {"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer", "description": "A personal access token."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "sid",
                    "description": "Set by POST /c/login; what changes something needs X-Harbor-CSRF-Token as well.",
                },
            },
        },
    }


def operation_id(route: Route) -> str:
    """A name for an operation: its handler's, with what it is about in front."""
    return f"{route.subject}_{route.handler.__name__}"


def _operation(route: Route, shapes: dict[int, dict[str, Any]]) -> dict[str, Any]:
    told = (route.handler.__doc__ or "").strip().splitlines()[0]
    success: dict[str, Any] = {"description": "Done."}
    if route.answer is not None:
        success["content"] = {"application/json": {"schema": shapes[id(route.answer)]}}
    elif route.text:
        success["content"] = {"text/plain": {"schema": {"type": "string"}}}
    if route.status == 201:
        success["headers"] = {"Location": {"schema": {"type": "string"}, "description": "Where it is to be found."}}
    if set(PAGE) <= set(route.query):
        success["headers"] = {
            "X-Total-Count": {"schema": {"type": "integer"}, "description": "How many there are in all."},
            "Link": {"schema": {"type": "string"}, "description": "The pages before and behind."},
        }
    found: dict[str, Any] = {
        "operationId": operation_id(route),
        "tags": [route.subject],
        "summary": told,
        "description": f"Needs: {route.permission.text}."
        + (f" Differs from Harbor: {route.partly}." if route.partly else "")
        + (" An addition to Harbor's API." if route.extra else ""),
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {str(route.status): success, **_failures(route)},
    }
    if route.permission in (OPEN, ANYBODY):
        found["security"] = [{}, {"basic": []}, {"token": []}, {"session": []}]
    if route.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": shapes[id(route.body)]}},
        }
    return found


def _failures(route: Route) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Errors"}}}
    if route.method == "HEAD":
        content = {}
    codes = {"400", "401", "429", "431", "503"}
    if route.permission not in (OPEN, ANYBODY):
        codes |= {"403"}
    if "{" in route.path or route.method in ("POST", "HEAD"):
        codes |= {"404"}
    if route.method in ("POST", "PUT", "DELETE", "PATCH"):
        codes |= {"409", "412"}
    if route.path.startswith("/ldap/"):
        codes |= {"412"}  # where no directory is configured
    if route.body is not None:
        codes |= {"413"}
    repository = route.path.startswith("/projects/{project_name}/repositories/")
    if (repository and route.method in ("POST", "DELETE")) or route.body is Schedule:
        codes |= {"405"}
    if route.permission in (KNOWN, ONESELF, INSIDE):
        codes |= {"404", "412"}
    return {code: {"description": _ERRORS[code], **({"content": content} if content else {})} for code in sorted(codes)}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    for name in re.findall(r"\{(\w+)\}", route.path):
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if name == "addition":
            schema = {"type": "string", "enum": ["build_history"]}
        if name in _NUMBERS:
            schema = {"type": "integer", "minimum": 1, "maximum": 2**53}
        one = {"name": name, "in": "path", "required": True, "schema": schema}
        if name == "repository_name":
            one["description"] = "A slash in it is percent-encoded twice: a%252Fb."
        found.append(one)
    if "{project_name_or_id}" in route.path:
        found.append(
            {
                "name": "X-Is-Resource-Name",
                "in": "header",
                "required": False,
                "schema": {"type": "boolean"},
                "description": "Whether the project is named, even where that looks like a number.",
            }
        )
    return found


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    for name in route.query:
        schema: dict[str, Any] = {"type": "string", "maxLength": 4096}
        if name in _INTEGERS:
            schema = {"type": "integer", "minimum": 1, "maximum": 100 if name == "page_size" else 10**6}
            if _INTEGERS[name] is not None:
                schema["default"] = _INTEGERS[name]
        elif name in _FLAGS:
            schema = {"type": "boolean"}
        one = {"name": name, "in": "query", "required": False, "schema": schema}
        if name in _WORDS:
            one["description"] = _WORDS[name]
        found.append(one)
    return found
