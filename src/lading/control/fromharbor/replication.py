"""Registry endpoints and replication policies of a Harbor: the first without their secrets, the second disabled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import number, part, parts, text
from lading.control.replication.endpoints import KINDS, PLAIN, Endpoint, Endpoints, check
from lading.control.replication.filters import WHOLE, Filter
from lading.control.replication.policies import MANUAL, SCHEDULED, Policies, Policy, Terms
from lading.control.replication.policies import check as check_policy
from lading.errors import Denied, Invalid
from lading.stores.metadata.transaction import Transaction

_ENDPOINT, _POLICY = "registry endpoint", "replication policy"
_API = "/api/v2.0"
_KB = 1024


async def endpoints(run: Import) -> tuple[dict[int, Endpoint], dict[int, str]]:
    """Endpoints: those that are here afterwards, and the names of all, by their ids there."""
    here: dict[int, Endpoint] = {}
    names: dict[int, str] = {}
    try:
        async for entry in run.source.all("/registries"):
            found = await run.attempt(
                _ENDPOINT,
                text(entry, "name"),
                lambda tx, one=entry: _endpoint(run, tx, one),  # type: ignore[misc]
            )
            names[number(entry, "id")] = text(entry, "name")
            if found is not None:
                here[number(entry, "id")] = found
    except Denied as refused:
        run.report.leave("replication", "of that Harbor", f"cannot be read: {refused.message}")
    return here, names


async def policies(run: Import, here: Mapping[int, Endpoint], names: Mapping[int, str]) -> None:
    """The policies of endpoints that are here."""
    try:
        async for entry in run.source.all("/replication/policies"):
            await run.attempt(
                _POLICY,
                text(entry, "name"),
                lambda tx, one=entry: _policy(run, tx, one, here, names),  # type: ignore[misc]
            )
    except Denied as refused:
        run.report.leave(_POLICY, "of any name", f"cannot be read: {refused.message}")


async def _endpoint(run: Import, tx: Transaction, entry: Mapping[str, Any]) -> Endpoint | None:
    """An endpoint as it is here; None where another one has its name. Raises ``Invalid``."""
    name, kind, login = text(entry, "name"), text(entry, "type"), part(entry, "credential")
    if kind not in KINDS:
        raise Invalid(f"there is no type {kind!r} here; {PLAIN} may do for it, with POST {_API}/registries")
    url, username = text(entry, "url").rstrip("/"), text(login, "access_key")
    there = await Endpoints(tx).named(name)
    if there is None:
        there = Endpoint(
            id=0,
            name=name,
            description=text(entry, "description"),
            kind=kind,
            url=url,
            insecure=entry.get("insecure") is True,
            username=username,
            ca=text(entry, "ca_certificate"),
            trouble="its secret is missing: Harbor does not hand it out" if username else "",
            created_at=0,
            updated_at=0,
        )
        check(there, "")
        run.report.count("registry endpoints", made=True)
        if not run.dry:
            there = await Endpoints(tx).add(there)
            await run.note(tx, "create", "registry", name)
    else:
        run.report.count("registry endpoints", made=False)
        if (there.url, there.kind) != (url, kind):
            run.report.tell(f"{_ENDPOINT} {name}: is another one here, {there.kind} at {there.url}")
            return None
    if username and there.sealed is None:
        at = f"{_API}/registries/{there.id or 'ID'}"
        run.report.tell(
            f'{_ENDPOINT} {name}: its secret does not come; PUT {at} {{"access_secret": "…"}} sets that of {username}'
        )
    return there


async def _policy(
    run: Import, tx: Transaction, entry: Mapping[str, Any], endpoints: Mapping[int, Endpoint], names: Mapping[int, str]
) -> None:
    """Make a policy that is not here; raises ``Invalid`` for one that cannot be."""
    name = text(entry, "name")
    if await Policies(tx).named(name) is not None:
        run.report.count("replication policies", made=False)
        return
    sides = [number(part(entry, side), "id") for side in ("src_registry", "dest_registry")]
    for side in sides:
        if side and side not in endpoints:
            raise Invalid(f"its registry endpoint {names.get(side, side)} did not come")
    source, target = (endpoints[side] if side else None for side in sides)
    made = Policy(
        id=0,
        name=name,
        description=text(entry, "description"),
        source=source.id if source else None,
        target=target.id if target else None,
        enabled=False,
        cause=text(part(entry, "trigger"), "type") or MANUAL,
        terms=_terms(entry),
    )
    check_policy(made, source, tx.now)
    run.report.count("replication policies", made=True)
    if not run.dry:
        made = await Policies(tx).add(made)
        await run.note(tx, "create", "replication-policy", name)
    if entry.get("enabled") is True:
        run.report.tell(
            f"{_POLICY} {name}: comes disabled, so that nothing moves before somebody looked at it;"
            f' PUT {_API}/replication/policies/{made.id or "ID"} with "enabled": true'
        )


def _terms(entry: Mapping[str, Any]) -> Terms:
    trigger = part(entry, "trigger")
    deletion = entry.get("replicate_deletion", entry.get("deletion"))
    replace = entry.get("dest_namespace_replace_count")
    return Terms(
        namespace=text(entry, "dest_namespace"),
        replace=number(entry, "dest_namespace_replace_count") if replace is not None else WHOLE,
        cron=text(part(trigger, "trigger_settings"), "cron") if trigger.get("type") == SCHEDULED else "",
        filters=tuple(_filter(each) for each in parts(entry, "filters") if each.get("value")),
        deletion=deletion is True,
        override=entry.get("override") is True,
        speed=max(0, number(entry, "speed")) * _KB,
        chunks=entry.get("copy_by_chunk") is True,
        single=entry.get("single_active_replication") is True,
    )


def _filter(entry: Mapping[str, Any]) -> Filter:
    value = entry.get("value")
    said = [str(each) for each in value] if isinstance(value, list) else str(value)
    return Filter(text(entry, "type"), said, text(entry, "decoration"))
