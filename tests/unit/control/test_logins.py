"""What was set of how people log in, where the key that sealed its secrets is lost, or what is kept is no good any more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lading.access.outbound import Outbound
from lading.access.sealing import Seal
from lading.control.accounts import Settings
from lading.control.logins import LDAP, Logins, in_force, stored
from lading.control.sources import Sources
from lading.errors import Invalid
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata

pytestmark = pytest.mark.anyio

GIVEN = {
    "auth_mode": LDAP,
    "ldap_url": "ldap://127.0.0.1:1",
    "ldap_base_dn": "dc=example",
    "ldap_search_dn": "cn=searcher",
    "ldap_search_password": "a-word",
}


@pytest.fixture
async def metadata(index_url: str) -> AsyncIterator[Metadata]:
    made = open_index(index_url)
    await made.write(lambda tx: Logins(tx, Seal(b"first" * 8)).change(GIVEN))
    yield made
    await made.close()


def sources(metadata: Metadata, seal: Seal) -> Sources:
    return Sources(metadata, seal, Settings(), Outbound(), ())


async def test_what_stays_is_kept_and_what_changes_is_made_anew(metadata: Metadata) -> None:
    seal = Seal(b"first" * 8)
    asked = sources(metadata, seal)
    first = await asked.current()
    assert first.directory is not None
    assert first.ways.directory is not None
    assert (first.ways.directory.password, first.ways.directory.guarded) == ("a-word", True)
    assert await asked.current() is first
    await metadata.write(lambda tx: Logins(tx, seal).change({"primary_auth_mode": True}))
    second = await asked.current()
    assert (second.primary, second.directory, second.providers) == (True, first.directory, first.providers)
    await metadata.write(lambda tx: Logins(tx, seal).change({"ldap_timeout": 7}))
    third = await asked.current()
    assert third.directory is not None
    assert third.directory is not first.directory
    asked.close()


async def test_a_lost_key_shuts_nobody_out_who_is_kept_here(metadata: Metadata) -> None:
    other = Seal(b"other" * 8)
    asked = sources(metadata, other)
    assert (await asked.current()).directory is None
    kept = await metadata.read(lambda tx: Logins(tx, other).read())
    with pytest.raises(Invalid, match="ldap_search_password is missing"):
        in_force(kept, other, Settings())
    before = await stored(metadata)
    with pytest.raises(Invalid, match="ldap_search_password is missing"):
        await metadata.write(lambda tx: Logins(tx, other).change({"ldap_timeout": 7}))
    assert await stored(metadata) == before
    again = {"ldap_search_password": "a-word"}
    assert await metadata.write(lambda tx: Logins(tx, other).change(again)) == again
    assert (await asked.current()).directory is not None
    asked.close()
