"""How people log in whose accounts are elsewhere: by a directory or by a provider, as configured or as administrators set it.

What is set while the registry runs is kept in the index under Harbor's names, secrets sealed, and held against the
rules of ``accounts.ldap`` and ``accounts.oidc``. It counts where the configuration has neither of these sections.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from lading.access.directory.settings import DirectorySettings
from lading.access.oidc import OidcSettings
from lading.access.sealing import Seal
from lading.control.sections import SCOPES, directory_of, provider_of
from lading.errors import Invalid, StoreError
from lading.stores.metadata import facts
from lading.stores.metadata.transaction import Metadata, Transaction

DATABASE, LDAP, OIDC = "db_auth", "ldap_auth", "oidc_auth"
MOST = 1024
"""Characters that a value may have."""
_FACT = "logins"

Value = str | int | bool


USUAL: Mapping[str, Value] = {
    "auth_mode": DATABASE,
    "primary_auth_mode": False,
    "ldap_url": "",
    "ldap_search_dn": "",
    "ldap_base_dn": "",
    "ldap_filter": "",
    "ldap_uid": "uid",
    "ldap_scope": SCOPES["sub"],
    "ldap_timeout": 5,
    "ldap_verify_cert": True,
    "ldap_group_base_dn": "",
    "ldap_group_search_filter": "",
    "ldap_group_attribute_name": "",
    "ldap_group_search_scope": SCOPES["sub"],
    "ldap_group_admin_dn": "",
    "ldap_group_membership_attribute": "memberof",
    "oidc_name": "",
    "oidc_endpoint": "",
    "oidc_client_id": "",
    "oidc_scope": "",
    "oidc_groups_claim": "",
    "oidc_admin_group": "",
    "oidc_group_filter": "",
    "oidc_user_claim": "",
    "oidc_auto_onboard": False,
    "oidc_verify_cert": True,
}
"""The settings that can be shown, and what they are where nothing was set."""
SECRETS: Mapping[str, tuple[str, ...]] = {
    "ldap_search_password": ("ldap_url", "ldap_search_dn"),
    "oidc_client_secret": ("oidc_endpoint", "oidc_client_id"),
}
"""Those that are never shown; each is for the place that these others name, and goes nowhere else."""
PLACES = ("ldap_url", "oidc_endpoint")


class Configured(Protocol):
    """What the configuration says of it."""

    @property
    def ldap(self) -> DirectorySettings | None: ...
    @property
    def oidc(self) -> OidcSettings | None: ...


class Kept(msgspec.Struct, frozen=True):
    """What was set; ``secrets`` are sealed, in base64."""

    values: dict[str, Value] = {}
    secrets: dict[str, str] = {}

    def value(self, name: str) -> Value:
        """A setting as it is."""
        return self.values.get(name, USUAL[name])


@dataclass(frozen=True)
class Ways:
    """By what people log in whose passwords are not kept here; ``mode`` is Harbor's word for it."""

    mode: str = DATABASE
    directory: DirectorySettings | None = None
    provider: OidcSettings | None = None


def are_configured(configured: Configured) -> bool:
    """Whether these settings are the configuration's to make, all of them, so that nobody can change them here."""
    return configured.ldap is not None or configured.oidc is not None


def in_force(kept: Kept, seal: Seal, configured: Configured) -> Ways:
    """What counts; raises ``Invalid`` where what was set does not do (any more)."""
    if are_configured(configured):
        mode = OIDC if configured.oidc is not None else LDAP
        return Ways(mode, configured.ldap, configured.oidc)
    if kept.value("auth_mode") == OIDC:
        return Ways(OIDC, provider=provider_of(_all(kept, seal)))
    if kept.value("auth_mode") == LDAP:
        return Ways(LDAP, directory=directory_of(_all(kept, seal)))
    return Ways()


def kept_directory(kept: Kept, seal: Seal, configured: Configured) -> DirectorySettings | None:
    """The directory that is set, whether people log in by it yet or not."""
    if are_configured(configured) or not kept.value("ldap_url"):
        return configured.ldap
    return directory_of(_all(kept, seal))


async def stored(metadata: Metadata) -> str:
    """What was set, as it is kept: the same text, the same settings."""
    return await facts.read(metadata, _FACT) or ""


def decoded(content: str) -> Kept:
    """What is kept as this text."""
    return msgspec.json.decode(content, type=Kept) if content else Kept()


def trouble(mode: str, given: Mapping[str, Value]) -> str:
    """What of these settings would keep people from logging in this way, besides a secret that is missing; "" for nothing."""
    stand_ins = dict.fromkeys(SECRETS, "*")
    values = {**USUAL, **stand_ins, **{name: value for name, value in given.items() if value != ""}}
    try:
        if mode == LDAP:
            directory_of({**values, "ldap_search_password": "*" if given.get("ldap_search_dn") else ""})
        else:
            provider_of(values)
    except Invalid as error:
        return error.message
    return ""


class Logins:
    """What was set, in a transaction."""

    def __init__(self, tx: Transaction, seal: Seal) -> None:
        self._tx = tx
        self._seal = seal

    async def read(self) -> Kept:
        """What was set."""
        return decoded(await facts.read(self._tx, _FACT) or "")

    async def change(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Set some of them, which the configuration leaves open; those that were another before. Raises ``Invalid``.

        What is empty is as if it had never been set. A secret whose place changes has to be given again.
        """
        await self._tx.lock("logins")
        changed, after = self._after(await self.read(), given)
        if changed:
            await facts.write(self._tx, _FACT, msgspec.json.encode(after).decode())
        return changed

    async def judge(self, given: Mapping[str, Value]) -> None:
        """Raise ``Invalid`` where they could not be changed to this."""
        self._after(await self.read(), given)

    def _after(self, before: Kept, given: Mapping[str, Value]) -> tuple[dict[str, Value], Kept]:
        """What is another afterwards, and all of it."""
        opened = _opened(before, self._seal)
        changed: dict[str, Value] = {}
        values, secrets = dict(before.values), dict(before.secrets)
        for name, value in given.items():
            if name in SECRETS:
                lost = name in secrets and name not in opened
                if self._secret(name, value) != opened.get(name, "") or lost:
                    changed[name] = value
                    _put(secrets, name, self._sealed(name, str(value)) if value else None)
            elif before.value(name) != _fitting(name, value):
                changed[name] = value
                _put(values, name, value if value != "" else None)
        for name, places in SECRETS.items():
            moved = any(place in changed for place in places)
            if name in secrets and moved and name not in given:
                if all(values.get(place) for place in places):
                    raise Invalid(f"{name} is missing: the one that is kept is for {before.value(places[0])} alone")
                secrets.pop(name)
                changed[name] = ""
        after = Kept(values, secrets)
        _check(after, self._seal)
        return changed, after

    def _secret(self, name: str, value: Value) -> str:
        if not isinstance(value, str) or len(value) > MOST:
            raise Invalid(f"{name} is a text of at most {MOST} characters")
        return value

    def _sealed(self, name: str, secret: str) -> str:
        return base64.b64encode(self._seal.seal(secret.encode(), name)).decode()


def _check(kept: Kept, seal: Seal) -> None:
    """Hold everything against its rules, what counts and what might one day."""
    everything, mode = _all(kept, seal), kept.value("auth_mode")
    directory_of(everything, whole=mode == LDAP)
    provider_of(everything, whole=mode == OIDC)


def _all(kept: Kept, seal: Seal) -> dict[str, Value]:
    return {**USUAL, **kept.values, **_opened(kept, seal)}


def _opened(kept: Kept, seal: Seal) -> dict[str, str]:
    """The secrets that can be unsealed; one that cannot, after a loss of the key file, has to be given again."""
    found = {}
    for name, sealed in kept.secrets.items():
        with suppress(StoreError):
            found[name] = seal.open(base64.b64decode(sealed), name).decode()
    return found


def _put(where: dict[str, Any], name: str, value: Value | None) -> None:
    if value is None:
        where.pop(name, None)
    else:
        where[name] = value


def _fitting(name: str, value: Value) -> Value:
    """The value, if it is of the kind that this setting has."""
    usual = USUAL[name]
    if isinstance(value, bool) != isinstance(usual, bool) or not isinstance(value, type(usual)):
        kind = {bool: "true or false", int: "a whole number", str: "a text"}[type(usual)]
        raise Invalid(f"{name} is {kind}")
    if isinstance(value, str) and len(value) > MOST:
        raise Invalid(f"{name} has more than {MOST} characters")
    if name == "auth_mode" and value not in (DATABASE, LDAP, OIDC):
        raise Invalid(f"auth_mode is {DATABASE}, {LDAP} or {OIDC}; other ways to log in are not here")
    return value
