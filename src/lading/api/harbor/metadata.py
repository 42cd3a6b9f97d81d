"""What is set for a project besides its name: Harbor's metadata, all of whose values are words."""

from __future__ import annotations

import re

import msgspec

from lading.api.harbor.call import Call, Text
from lading.api.request import Response
from lading.control.projects import Project, Projects
from lading.errors import Conflict, Invalid, Missing
from lading.stores.metadata.transaction import Transaction

PUBLIC = "public"
_FLAGS = frozenset(
    [
        PUBLIC,
        "auto_sbom_generation",
        "auto_scan",
        "enable_content_trust",
        "enable_content_trust_cosign",
        "prevent_vul",
        "proxy_cache_local_on_not_found",
        "proxy_referrer_api",
        "reuse_sys_cve_allowlist",
    ]
)
_SEVERITIES = ("none", "negligible", "low", "medium", "high", "critical")
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_PROXY = frozenset(["max_upstream_conn", "proxy_cache_filter_kind", "proxy_cache_filter_pattern", "proxy_speed_kb"])
NAMES = (*sorted(_FLAGS), "severity", *sorted(_PROXY))

Values = dict[Text, Text]


class Metadata(msgspec.Struct, omit_defaults=True):
    """All of them as a project shows and takes them; what is None is not set, or stays as it is."""

    public: Text | None = None
    enable_content_trust: Text | None = None
    enable_content_trust_cosign: Text | None = None
    prevent_vul: Text | None = None
    severity: Text | None = None
    auto_scan: Text | None = None
    auto_sbom_generation: Text | None = None
    reuse_sys_cve_allowlist: Text | None = None
    retention_id: Text | None = None
    proxy_speed_kb: Text | None = None
    max_upstream_conn: Text | None = None
    proxy_cache_local_on_not_found: Text | None = None
    proxy_referrer_api: Text | None = None
    proxy_cache_filter_pattern: Text | None = None
    proxy_cache_filter_kind: Text | None = None

    def given(self) -> Values:
        """Those that are set."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in found.items() if value is not None}


def checked(name: str, value: str) -> str:
    """The value as it is kept; raises ``Invalid`` for what it cannot be."""
    if name in _FLAGS:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise Invalid(f"{name} is {value[:40]!r}, but must be true or false (as a word)")
        return "true" if value.lower() in _TRUE else "false"
    if name == "severity":
        if value.lower() not in _SEVERITIES:
            raise Invalid(f"severity is {value[:40]!r}, but must be one of {', '.join(_SEVERITIES)}")
        return value.lower()
    if name in ("proxy_speed_kb", "max_upstream_conn") and _WHOLE.fullmatch(value) is None:
        raise Invalid(f"{name} is {value[:40]!r}, but must be a whole number (as a word)")
    if name not in NAMES:
        raise Invalid(f"a project has no setting {name[:60]!r} that can be set; there are {', '.join(NAMES)}")
    return value


async def keep(tx: Transaction, project: Project, values: Values) -> None:
    """Set some of them; ``retention_id`` and what belongs to proxies is for others to set, and passed over."""
    for name, value in values.items():
        if name == "retention_id" or (name in _PROXY and project.registry is None):
            continue
        kept = checked(name, value)
        if name == PUBLIC:
            await Projects(tx).set_public(project, public=kept == "true")
        else:
            await Projects(tx).set_metadata(project.id, name, kept)


async def all_of(tx: Transaction, project: Project) -> Values:
    """All that are set."""
    return {PUBLIC: "true" if project.public else "false", **await Projects(tx).metadata(project.id)}


async def index(call: Call) -> Response:
    """All of them."""
    return call.json(await call.services.metadata.read(lambda tx: all_of(tx, call.here)))


async def add(call: Call) -> Response:
    """Set one that is not set."""
    values = await _one(call)

    async def put(tx: Transaction) -> None:
        if set(values) & set(await all_of(tx, call.here)):
            raise Conflict(f"{', '.join(values)} is set already; PUT sets it anew")
        await keep(tx, call.here, values)
        await _note(call, tx, values)

    await call.services.metadata.write(put)
    return call.done()


async def get(call: Call) -> Response:
    """One of them."""
    name = call.path["meta_name"]
    values = await call.services.metadata.read(lambda tx: all_of(tx, call.here))
    # Harbor answers nothing at all where one is not set
    return call.json({name: values[name]} if name in values else {})


async def update(call: Call) -> Response:
    """Set one of them anew."""
    name = call.path["meta_name"]
    given = await call.body(Values)
    if name not in given:
        raise Invalid(f"the body says nothing of {name[:60]}")
    values = {name: checked(name, given[name])}

    async def put(tx: Transaction) -> None:
        await keep(tx, call.here, values)
        await _note(call, tx, values)

    await call.services.metadata.write(put)
    return call.done()


async def delete(call: Call) -> Response:
    """Take one away; ``public`` is always set."""
    name = call.path["meta_name"]
    if name == PUBLIC:
        raise Invalid("a project is public or it is not: set public to false")

    async def remove(tx: Transaction) -> None:
        if name not in await Projects(tx).metadata(call.here.id):
            raise Missing(f"{call.here.name} has no setting {name[:60]}")
        await Projects(tx).set_metadata(call.here.id, name, None)
        await call.note(tx, "delete", "metadata", name, project=call.here.name)

    await call.services.metadata.write(remove)
    return call.done()


async def _note(call: Call, tx: Transaction, values: Values) -> None:
    told = ", ".join(f"{name}={value}" for name, value in values.items())
    await call.note(tx, "update", "metadata", call.here.name, project=call.here.name, detail=told)


async def _one(call: Call) -> Values:
    values = await call.body(Values)
    if len(values) != 1:
        raise Invalid("the body has one setting and its value, no more")
    return {name: checked(name, value) for name, value in values.items()}
