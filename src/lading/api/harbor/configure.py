"""Settings of the whole registry under Harbor's names. Those of the configuration file can be seen, and not changed.

Clients send all that they know at once (harbor-cli all it was told, Terraform's provider all that Harbor has): what is
as it is already is taken, and so is what Harbor has besides and is not asked for.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec

from lading.access.directory.settings import DirectorySettings
from lading.access.oidc import OidcSettings
from lading.api.harbor.call import Call
from lading.api.harbor.ldap import SCOPES
from lading.api.harbor.problems import Precondition
from lading.api.request import Response
from lading.control import settings
from lading.errors import Invalid
from lading.stores.metadata.transaction import Transaction

_CHANGEABLE = ("banner_message", "project_creation_restriction", "robot_token_duration", "storage_per_project")
_KINDS = ("ldap_", "oidc_", "uaa_", "http_authproxy_")
_BESIDES = frozenset(
    {"audit_log_forward_endpoint", "disabled_audit_log_event_types", "scan_all_policy", "verify_remote_cert"}
)
"""Harbor's settings that are none here, by how they begin and by name; nothing, empty, false and 0 ask for nothing."""


class Value(msgspec.Struct):
    """A setting, and whether it can be set by this API."""

    value: str | int | bool
    editable: bool


Values = dict[str, Any]


async def get(call: Call) -> Response:
    """The settings."""
    found = await call.services.metadata.read(lambda tx: _all(call, tx))
    return call.json({name: Value(value, name in _CHANGEABLE) for name, value in found.items()})


async def update(call: Call) -> Response:
    """Set some of them; what is the configuration file's may be said again, and not be changed."""
    given = await call.body(Values)
    if not given:
        raise Invalid("the body has no settings")

    async def change(tx: Transaction) -> None:
        present = await _all(call, tx)
        for name, value in given.items():
            if value is None or (name in present and _same(present[name], value)):
                continue
            if name not in present and _known(name):
                _pass_over(call, name, value)
                continue
            if name not in present:
                raise Invalid(f"there is no setting {name[:60]!r} here; there are {', '.join(present)}")
            if name not in _CHANGEABLE:
                raise Precondition(f"{name} is set in the configuration file, and cannot be changed here")
            await settings.change(tx, name, value)
            await call.note(tx, "update", "configuration", name, detail=str(value)[:200])

    await call.services.metadata.write(change)
    return call.done()


async def _all(call: Call, tx: Transaction) -> dict[str, str | int | bool]:
    changed, configured = await settings.read(tx), call.accounts.settings
    return {
        "auth_mode": "oidc_auth"
        if configured.oidc is not None
        else "ldap_auth"
        if configured.ldap is not None
        else "db_auth",
        "primary_auth_mode": False,
        "banner_message": changed.banner,
        "notification_enable": True,
        "project_creation_restriction": changed.creators(configured),
        "quota_per_project_enable": True,
        "read_only": call.services.manners.read_only,
        "robot_name_prefix": "robot$",
        "robot_token_duration": changed.robot_days,
        "scanner_skip_update_pulltime": False,
        "self_registration": configured.self_registration,
        "skip_audit_log_database": False,
        "storage_per_project": changed.project_bytes,
        "token_expiration": configured.lifetimes.token // 60_000,
        "session_timeout": configured.sessions.idle // 60_000,
        **(_oidc(configured.oidc) if configured.oidc is not None else {}),
        **(_ldap(configured.ldap) if configured.ldap is not None else {}),
    }


def _oidc(settings: OidcSettings) -> dict[str, str | int | bool]:
    return {
        "oidc_name": settings.name,
        "oidc_endpoint": settings.issuer,
        "oidc_client_id": settings.client_id,
        "oidc_scope": ",".join(settings.scopes),
        "oidc_groups_claim": settings.groups_claim,
        "oidc_admin_group": settings.admin_group,
        "oidc_group_filter": settings.group_filter,
        "oidc_user_claim": settings.user_claim,
        "oidc_auto_onboard": settings.auto_onboard,
        "oidc_verify_cert": True,
    }


def _ldap(directory: DirectorySettings) -> dict[str, str | int | bool]:
    """Harbor's names for ``accounts.ldap``; the password is not shown, as there."""
    groups = directory.groups
    return {
        "ldap_url": directory.url,
        "ldap_search_dn": directory.user,
        "ldap_base_dn": directory.base,
        "ldap_filter": directory.filter,
        "ldap_uid": directory.uid,
        "ldap_scope": SCOPES[directory.scope],
        "ldap_timeout": directory.timeout,
        "ldap_verify_cert": directory.verify,
        "ldap_group_base_dn": groups.base,
        "ldap_group_search_filter": groups.filter,
        "ldap_group_attribute_name": groups.name,
        "ldap_group_search_scope": SCOPES[groups.scope],
        "ldap_group_admin_dn": groups.admin,
        "ldap_group_membership_attribute": groups.membership,
    }


def _known(name: str) -> bool:
    """Whether it is a setting of Harbor's."""
    return name.startswith(_KINDS) or name in _BESIDES


def _pass_over(call: Call, name: str, value: object) -> None:
    """Take a setting that there is none of here where it says what is so anyway; raises ``Precondition`` where not."""
    configured = call.accounts.settings
    secret = {
        "ldap_search_password": configured.ldap.password if configured.ldap is not None else "",
        "oidc_client_secret": configured.oidc.client_secret if configured.oidc is not None else "",
    }.get(name, "")
    if secret and isinstance(value, str) and hmac.compare_digest(secret.encode(), value.encode()):
        return
    if value and name != "scan_all_policy":
        raise Precondition(f"{name[:60]} cannot be set here: how people log in is set in the configuration file")


def _same(present: str | int | bool, given: object) -> bool:
    return type(present) is type(given) and present == given
