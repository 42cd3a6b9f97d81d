"""Endpoints: other registries that replication brings images to or from. Their secrets are taken and never shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lading.api.harbor.call import Call, Id, Model, Number, Text, moment
from lading.api.harbor.problems import Precondition
from lading.api.request import Response
from lading.control.replication.endpoints import HARBOR, KINDS, Endpoint, Endpoints, check, sealed
from lading.control.replication.filters import ARTIFACT, IMAGE, LABEL, NAME, RESOURCE, TAG
from lading.control.replication.policies import CAUSES
from lading.control.replication.triggers import look
from lading.errors import Invalid, Missing
from lading.remotes.adapters.kinds import HUB
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction

HEALTHY, UNHEALTHY = "healthy", "unhealthy"
_HIDDEN = "*****"
_BASIC = "basic"


class Credential(Model, omit_defaults=False):
    """A login; the secret is never shown again."""

    type: Text = _BASIC
    access_key: Text = ""
    access_secret: Text = ""


class RegistryAnswer(Model):
    """An endpoint; ``status`` is what the last look found, ``reason`` what was wrong."""

    id: int
    name: str
    url: str
    type: str
    description: str
    insecure: bool
    status: str
    creation_time: str
    update_time: str
    credential: Credential | None = None
    ca_certificate: str | None = None
    reason: str | None = None


class RegistryNew(Model):
    """An endpoint to be."""

    name: Text
    url: Text
    type: Text
    credential: Credential | None = None
    insecure: bool = False
    ca_certificate: str = ""
    description: Text = ""


class RegistryChange(Model):
    """What is changed of an endpoint; what is left out stays."""

    name: Text | None = None
    url: Text | None = None
    description: Text | None = None
    credential_type: Text | None = None
    access_key: Text | None = None
    access_secret: Text | None = None
    insecure: bool | None = None
    ca_certificate: str | None = None


class RegistryTry(RegistryChange):
    """An endpoint to be tried: one that is there (``id``), with what is given besides in place of what is kept."""

    id: Id | None = None
    type: Text | None = None


class FilterStyle(Model):
    """A kind of filter, and the values it may have, if these are given."""

    type: str
    style: str
    values: list[str] | None = None


class RegistryInfo(Model):
    """What can be done with a registry of that kind."""

    type: str
    description: str
    supported_resource_filters: list[FilterStyle]
    supported_triggers: list[str]
    supported_copy_by_chunk: bool


async def adapters(call: Call) -> Response:
    """The kinds of registries."""
    return call.json(list(KINDS))


async def adapter_infos(call: Call) -> Response:
    """What is filled in for each kind."""
    fixed = {"endpoint_type": "EndpointPatternTypeFix", "endpoints": [{"key": HUB, "value": "https://hub.docker.com"}]}
    told: dict[str, Any] = {kind: {"endpoint_pattern": None, "credential_pattern": None} for kind in KINDS}
    told[HUB]["endpoint_pattern"] = fixed
    return call.json(told)


async def index(call: Call) -> Response:
    """The endpoints; ``name`` looks for a part of the name."""
    page = call.page()
    if call.argument("name"):
        page = replace(page, where=(*page.where, Match("name", "like", (call.argument("name"),))))
    total, found = await call.services.metadata.read(lambda tx: Endpoints(tx).listed(page))
    return call.listed(page, total, [answer(one) for one in found])


async def create(call: Call) -> Response:
    """Add an endpoint, if it is well."""
    given = await call.body(RegistryNew)
    login = given.credential or Credential()
    _check_login(login.type)
    one = Endpoint(
        id=0,
        name=given.name,
        description=given.description,
        kind=given.type,
        url=given.url.rstrip("/"),
        insecure=given.insecure,
        username=login.access_key,
        ca=given.ca_certificate,
        trouble="",
        created_at=0,
        updated_at=0,
        sealed=sealed(call.replicate.seal, login.access_secret),
    )
    check(one, login.access_secret)
    await _try(call, one, login.access_secret)

    async def add(tx: Transaction) -> Endpoint:
        made = await Endpoints(tx).add(one)
        await call.note(tx, "create", "registry", one.name, detail=one.url)
        return made

    made = await call.services.metadata.write(add)
    return call.made(f"/registries/{made.id}")


async def get(call: Call) -> Response:
    """One endpoint."""
    return call.json(answer(await call.services.metadata.read(lambda tx: found(tx, call.number("id")))))


async def update(call: Call) -> Response:
    """Change an endpoint, if it is well afterwards."""
    given = await call.body(RegistryChange)
    before = await call.services.metadata.read(lambda tx: found(tx, call.number("id")))
    one, password = _changed(call, before, given)
    check(one, password)
    await _try(call, one, password)

    async def change(tx: Transaction) -> None:
        await found(tx, one.id)
        await Endpoints(tx).change(one)
        await call.note(tx, "update", "registry", one.name, detail=one.url)

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Delete an endpoint that no policy and no project uses."""

    async def remove(tx: Transaction) -> None:
        one = await found(tx, call.number("id"))
        if await Endpoints(tx).used(one.id):
            raise Precondition(f"{one.name} is used by a replication policy or a project; delete that first")
        await Endpoints(tx).delete(one.id)
        await call.note(tx, "delete", "registry", one.name)

    await call.services.metadata.write(remove)
    return call.done()


async def ping(call: Call) -> Response:
    """Whether an endpoint is well: one that is there, or one to be."""
    given = await call.body(RegistryTry)
    if given.id is not None:
        before = await call.services.metadata.read(lambda tx: found(tx, given.id or 0))
    else:
        before = Endpoint(0, "to be", "", given.type or "", "", False, "", "", "", 0, 0)
    one, password = _changed(call, before, given)
    if given.type is not None:
        one = replace(one, kind=given.type)
    check(one, password)
    await _try(call, one, password)
    return call.done()


async def info(call: Call) -> Response:
    """What can be done with an endpoint; 0 is this registry."""
    if call.number("id") == 0:
        return call.json(_info(HARBOR))
    one = await call.services.metadata.read(lambda tx: found(tx, call.number("id")))
    return call.json(_info(one.kind))


def answer(one: Endpoint) -> RegistryAnswer:
    """An endpoint as the API shows it."""
    login = Credential(access_key=one.username, access_secret=_HIDDEN) if one.username else None
    return RegistryAnswer(
        id=one.id,
        name=one.name,
        url=one.url,
        type=one.kind,
        description=one.description,
        insecure=one.insecure,
        status=UNHEALTHY if one.trouble else HEALTHY,
        creation_time=moment(one.created_at),
        update_time=moment(one.updated_at),
        credential=login,
        ca_certificate=one.ca or None,
        reason=one.trouble or None,
    )


async def found(tx: Transaction, endpoint: Number) -> Endpoint:
    """The endpoint of that id; raises ``Missing``."""
    one = await Endpoints(tx).find(endpoint)
    if one is None:
        raise Missing(f"there is no registry {endpoint}")
    return one


def _changed(call: Call, before: Endpoint, given: RegistryChange) -> tuple[Endpoint, str]:
    """The endpoint as it is to be, and its password."""
    _check_login(given.credential_type or _BASIC)
    seal = call.replicate.seal
    url = before.url if given.url is None else given.url.rstrip("/")
    secret = given.access_secret if given.access_secret not in (None, _HIDDEN) else None
    if secret is None and before.sealed and url != before.url:
        # else whoever may change an endpoint could have its secret sent to another host
        raise Invalid("the secret is not taken along to another url: give access_secret, too")
    password = before.password(seal) if secret is None else secret
    one = replace(
        before,
        name=before.name if given.name is None else given.name,
        description=before.description if given.description is None else given.description,
        url=url,
        insecure=before.insecure if given.insecure is None else given.insecure,
        username=before.username if given.access_key is None else given.access_key,
        ca=before.ca if given.ca_certificate is None else given.ca_certificate,
        trouble="",
        sealed=before.sealed if secret is None else sealed(seal, secret),
    )
    return one, password


def _check_login(kind: str) -> None:
    if kind not in ("", _BASIC):
        raise Invalid("the type of a credential is basic: a name and a password or token")


async def _try(call: Call, one: Endpoint, password: str) -> None:
    trouble = await look(call.replicate, one, password)
    if trouble:
        raise Invalid(f"the registry is unhealthy: {trouble}")


def _info(kind: str) -> RegistryInfo:
    styles = [
        FilterStyle(NAME, "input"),
        FilterStyle(TAG, "input"),
        *([FilterStyle(LABEL, "input")] if kind == HARBOR else []),
        FilterStyle(RESOURCE, "radio", [IMAGE, ARTIFACT]),
    ]
    return RegistryInfo(kind, "", styles, list(CAUSES), supported_copy_by_chunk=False)
