"""Settings of a Harbor that are none of how people log in; those that the configuration file makes here are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.control import settings
from lading.control.fromharbor.importing import Import
from lading.control.settings import ADMINS, EVERYONE, KEYS
from lading.errors import Invalid
from lading.stores.metadata.transaction import Transaction

_MINUTE = 60_000
_ELSEWHERE = {
    "audit_log_forward_endpoint": "accounts.audit.syslog",
    "pull_audit_log_disable": "accounts.audit.pulls",
    "read_only": "storage.maintenance.readonly.enabled",
}
"""What is off by itself in both, and where it is set here."""


async def bring(run: Import, values: Mapping[str, Any]) -> None:
    """Set what is neither set here nor so anyway."""
    for name in KEYS:
        if values.get(name) is not None:
            await run.attempt(
                "setting",
                name,
                lambda tx, name=name: _one(run, tx, name, values[name]),  # type: ignore[misc]
            )
    for name, (here, where) in _configured(run).items():
        there = values.get(name)
        if there is not None and there != here:
            run.report.leave(
                "setting",
                name,
                f"it is {_said(there)} there and {_said(here)} here, by {where} in the configuration file",
            )
    for name, where in _ELSEWHERE.items():
        if values.get(name):
            run.report.leave(
                "setting", name, f"it is {_said(values[name])} there; {where} in the configuration file is for that"
            )
    if run.prefix != "robot$":
        run.report.tell(f"robots: their names begin with robot$ here, and with {run.prefix} there")


async def _one(run: Import, tx: Transaction, name: str, value: Any) -> None:
    there = await settings.given(tx)
    now = await settings.read(tx)
    usual = {
        "banner_message": now.banner,
        "project_creation_restriction": now.creators(run.configured),
        "robot_token_duration": now.robot_days,
        "storage_per_project": now.project_bytes,
    }[name]
    if value == usual:
        return
    if name in there:
        run.report.count("settings", made=False)
        if str(value) != there[name]:
            run.report.tell(f"setting {name}: is {there[name]} here, and {value} there")
        return
    if name == "project_creation_restriction" and (value, usual) == (EVERYONE, ADMINS):
        raise Invalid("accounts.everyonecreates is off in the configuration file, and stays so")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Invalid("it is neither text nor a number there")
    settings.check(name, value)
    run.report.count("settings", made=True)
    if not run.dry:
        await settings.change(tx, name, value)
        await run.note(tx, "update", "configuration", name)


def _said(value: object) -> str:
    """A value as the file has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _configured(run: Import) -> dict[str, tuple[Any, str]]:
    """What is so here because the configuration says so, and where it does."""
    configured = run.configured
    return {
        "self_registration": (configured.self_registration, "accounts.selfregistration"),
        "token_expiration": (configured.lifetimes.token // _MINUTE, "accounts.tokenlifetime"),
        "session_timeout": (configured.sessions.idle // _MINUTE, "accounts.session.idle"),
    }
