"""Settings of the whole registry under Harbor's names. Those of the configuration file can be seen, and not changed.

Clients send all that they know at once (harbor-cli all it was told, Terraform's provider all that Harbor has): what is
as it is already is taken, and so is what Harbor has besides and is not asked for.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from lading.access.directory.settings import DirectorySettings
from lading.access.oidc import OidcSettings
from lading.api.harbor.call import Call
from lading.api.harbor.problems import Precondition
from lading.api.request import Response
from lading.control import logins, settings
from lading.control.logins import SECRETS, USUAL, Logins, are_configured
from lading.control.sections import SCOPES
from lading.errors import Invalid
from lading.stores.metadata.transaction import Transaction

_CHANGEABLE = ("banner_message", "project_creation_restriction", "robot_token_duration", "storage_per_project")
_KINDS = ("ldap_", "oidc_", "uaa_", "http_authproxy_")
_BESIDES = frozenset(
    {"audit_log_forward_endpoint", "disabled_audit_log_event_types", "scan_all_policy", "verify_remote_cert"}
)
"""Harbor's settings that are none here, by how they begin and by name; nothing, empty, false and 0 ask for nothing."""
_IN_THE_FILE = {
    "read_only": "storage.maintenance.readonly.enabled",
    "self_registration": "accounts.selfregistration",
    "session_timeout": "accounts.session.idle",
    "token_expiration": "accounts.tokenlifetime",
}
_WITHOUT_EFFECT = frozenset({"scan_all_policy", "ldap_group_attach_parallel"})

Said = str | int | bool


class Value(msgspec.Struct):
    """A setting, and whether it can be set by this API."""

    value: Said
    editable: bool


Values = dict[str, Any]


async def get(call: Call) -> Response:
    """The settings."""
    found = await call.services.metadata.read(lambda tx: _all(call, tx))
    return call.json({name: Value(value, _is_open(call, name)) for name, value in found.items()})


async def update(call: Call) -> Response:
    """Set some of them; what is the configuration file's may be said again, and not be changed.

    How people log in (``auth_mode``, ``ldap_…``, ``oidc_…``) holds from the next login on, in every process.
    """
    given = await call.body(Values)
    if not given:
        raise Invalid("the body has no settings")
    present = await call.services.metadata.read(lambda tx: _all(call, tx))
    asked = _asked(call, given, present)
    await call.accounts.sources.judge(asked)

    async def change(tx: Transaction) -> None:
        for name, value in asked.items():
            if name in _CHANGEABLE:
                await settings.change(tx, name, value)
                await call.note(tx, "update", "configuration", name, detail=str(value)[:200])
        ways = {name: value for name, value in asked.items() if name not in _CHANGEABLE}
        if ways:
            changed = await Logins(tx, call.accounts.seal).change(ways)
            for name, value in changed.items():
                told = str(value)[:200] if name not in SECRETS else "another" if value else "none"
                await call.note(tx, "update", "configuration", name, detail=told)

    await call.services.metadata.write(change)
    return call.done()


def _asked(call: Call, given: Values, present: Mapping[str, Said]) -> Values:
    """What is to be changed; raises ``Precondition`` for what is not to be set here, ``Invalid`` for what there is not."""
    asked = {}
    for name, value in given.items():
        if value is None or (name in present and _same(present[name], value)):
            continue
        if _is_open(call, name):
            asked[name] = value
        elif name in present:
            raise _fixed(call, name)
        elif _known(name):
            _pass_over(call, name, value)
        else:
            raise Invalid(f"there is no setting {name[:60]!r} here; there are {', '.join(present)}")
    return asked


def _is_open(call: Call, name: str) -> bool:
    """Whether it can be set here."""
    if name in USUAL or name in SECRETS:
        return not are_configured(call.accounts.settings)
    return name in _CHANGEABLE


async def _all(call: Call, tx: Transaction) -> dict[str, Said]:
    changed, configured = await settings.read(tx), call.accounts.settings
    return {
        **await _ways(call, tx),
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
    }


async def _ways(call: Call, tx: Transaction) -> dict[str, Said]:
    """How people log in."""
    configured = call.accounts.settings
    if not are_configured(configured):
        kept = await Logins(tx, call.accounts.seal).read()
        return {name: kept.value(name) for name in USUAL}
    return {
        "auth_mode": logins.OIDC if configured.oidc is not None else logins.LDAP,
        "primary_auth_mode": False,
        **(_oidc(configured.oidc) if configured.oidc is not None else {}),
        **(_ldap(configured.ldap) if configured.ldap is not None else {}),
    }


def _oidc(settings: OidcSettings) -> dict[str, Said]:
    """Harbor's names for ``accounts.oidc``; the secret is not shown, as there."""
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


def _ldap(directory: DirectorySettings) -> dict[str, Said]:
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
    """Take a setting that is not to be set here where it says what is so anyway; raises ``Precondition`` where not."""
    configured = call.accounts.settings
    secret = {
        "ldap_search_password": configured.ldap.password if configured.ldap is not None else "",
        "oidc_client_secret": configured.oidc.client_secret if configured.oidc is not None else "",
    }.get(name, "")
    if secret and isinstance(value, str) and hmac.compare_digest(secret.encode(), value.encode()):
        return
    if not value or value == "{}" or name in _WITHOUT_EFFECT:
        return
    if name in SECRETS or name in USUAL:
        raise _fixed(call, name)
    raise Precondition(f"{name[:60]} is a setting of Harbor's that this registry does not have")


def _fixed(call: Call, name: str) -> Precondition:
    """Why a setting cannot be changed here, and where it can."""
    if name in SECRETS or name in USUAL:
        section = "accounts.ldap" if call.accounts.settings.ldap is not None else "accounts.oidc"
        return Precondition(
            f"{name} cannot be changed here: the configuration file has {section}, and so all of how people log in is the"
            " file's. Change it there and restart, or take that section out, restart, and set all of it here"
        )
    return Precondition(
        f"{name} cannot be changed here: {_IN_THE_FILE.get(name, 'it')} is set in the configuration file"
    )


def _same(present: Said, given: object) -> bool:
    return type(present) is type(given) and present == given
