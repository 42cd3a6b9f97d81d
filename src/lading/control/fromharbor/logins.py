"""How people log in at a Harbor by a directory or a provider, as settings that count from the next login on.

A secret cannot be read there. Where logins need one, everything else is set and put in force by whoever gives the secret:
else each of them would fail, and look as if the passwords were wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.control.fromharbor.importing import Import
from lading.control.logins import DATABASE, LDAP, OIDC, USUAL, Kept, Logins, Value, are_configured, trouble
from lading.errors import Invalid
from lading.stores.metadata.transaction import Transaction

_SHOWN = {LDAP: "LDAP", OIDC: "OIDC"}
_SECRET = {LDAP: "ldap_search_password", OIDC: "oidc_client_secret"}
_PLACE = {LDAP: "ldap_url", OIDC: "oidc_endpoint"}
_BEGINS = {LDAP: "ldap_", OIDC: "oidc_"}
_SECTION = {LDAP: "accounts.ldap", OIDC: "accounts.oidc"}
_NOTHING = (None, "", "{}", False, 0)
_PASSED_OVER = {"ldap_group_attach_parallel"}


async def bring(run: Import, values: Mapping[str, Any]) -> None:
    """Set what is said of the way that people log in by there, unless this registry knows whom to ask already."""
    mode = run.mode
    if mode == DATABASE:
        return
    if mode not in _SHOWN:
        run.report.leave("login by", mode, "there is no such way here; there are LDAP and OIDC")
        return
    if are_configured(run.configured):
        section = run.configured.ldap if mode == LDAP else run.configured.oidc
        run.report.count("login settings", made=False)
        where = (
            f"{_SECTION[mode]} in the configuration file says how people log in"
            if section
            else (f"the configuration file says who else is asked; {_SECTION[mode]} there is for it")
        )
        run.report.tell(f"login by {_SHOWN[mode]}: nothing of it comes, since {where}")
        return
    await run.attempt("login by", _SHOWN[mode], lambda tx: _set(run, tx, _said(mode, values)))
    for name in sorted(values):
        if (
            name.startswith(_BEGINS[mode])
            and name not in USUAL
            and name not in _PASSED_OVER
            and values[name] not in _NOTHING
        ):
            run.report.leave("setting", name, "there is none of that name here")


async def _set(run: Import, tx: Transaction, given: dict[str, Value]) -> None:
    logins, mode = Logins(tx, run.seal), run.mode
    kept = await logins.read()
    if any(kept.values.get(name) for name in ("auth_mode", *_PLACE.values())):
        run.report.count("login settings", made=False)
        if kept.value("auth_mode") not in (DATABASE, mode) or _differ(kept, given):
            run.report.tell(f"login by {_SHOWN[mode]}: is set otherwise here, and stays so")
        elif kept.value("auth_mode") == DATABASE:
            _not_in_force(run, given)
        return
    if not given.get(_PLACE[mode]):
        raise Invalid(f"{_PLACE[mode]} is empty there")
    alone = mode == LDAP and not given.get("ldap_search_dn") and not trouble(mode, given)
    wanted = {**given, "auth_mode": mode} if alone else given
    if run.dry:
        await logins.judge(wanted)
    else:
        for name in await logins.change(wanted):
            await run.note(tx, "update", "configuration", name)
    run.report.count("login settings", made=True)
    if alone:
        run.report.tell(f"login by {_SHOWN[mode]}: is in force from the next login on; {run.mode} needs no secret")
    else:
        _not_in_force(run, given)


def _not_in_force(run: Import, given: Mapping[str, Value]) -> None:
    mode = run.mode
    wrong = trouble(mode, given)
    first = f" What keeps it from coming into force besides: {wrong}." if wrong else ""
    needs = "" if mode == LDAP and not given.get("ldap_search_dn") else f', "{_SECRET[mode]}": "…"'
    back = " The provider must know this registry's /c/oidc/callback." if mode == OIDC else ""
    run.report.tell(
        f"login by {_SHOWN[mode]}: is set and not in force, since its secret does not come and every login would fail;"
        f' PUT /api/v2.0/configurations {{"auth_mode": "{mode}"{needs}}} puts it in force.{first}{back}'
    )


def _said(mode: str, values: Mapping[str, Any]) -> dict[str, Value]:
    """What is said of it there that is another here by itself."""
    given: dict[str, Value] = {}
    for name, usual in USUAL.items():
        value = values.get(name)
        if name.startswith(_BEGINS[mode]) and isinstance(value, str | int) and value not in ("", usual):
            given[name] = value
    url = given.get("ldap_url")
    if isinstance(url, str) and "://" not in url:
        given["ldap_url"] = f"ldap://{url}"  # as Harbor takes it
    return given


def _differ(kept: Kept, given: Mapping[str, Value]) -> bool:
    return any(kept.value(name) != value for name, value in given.items())
