"""What a mirror calls its upstream's repositories, what clients call the upstream, and how much of its words is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lading.errors import TooMany
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.registry.upstream import PATIENCE, Login, LoginKeyring, Upstream, weight
from tests.support.scripted import Answer, Scripted

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "asked", "there", "place"),
    [
        ("docker.io", "hub/alpine", "library/alpine", "hub/library/alpine"),
        ("registry-1.docker.io", "hub/library/alpine", "library/alpine", "hub/library/alpine"),
        ("docker.io", "hub/team/app", "team/app", "hub/team/app"),
        ("quay.io", "hub/alpine", "alpine", "hub/alpine"),
    ],
)
async def test_docker_hubs_own_images_have_one_name_however_they_are_asked_for(
    host: str, asked: str, there: str, place: str
) -> None:
    upstream = Upstream(host, LoginKeyring(Login(), ""), PATIENCE, prefix="hub/")
    assert (upstream.named(asked), upstream.place(asked)) == (there, place)
    await upstream.close()


@pytest.mark.parametrize(
    ("host", "name", "same"),
    [
        ("registry-1.docker.io", "docker.io", True),
        ("docker.io", "docker.io", True),
        ("registry.test:5000", "registry.test:5000", True),
        ("registry.test:5000", "registry.test", False),
        ("quay.io", "docker.io", False),
        ("docker.io", "quay.io", False),
    ],
)
async def test_what_clients_call_it(host: str, name: str, same: bool) -> None:
    upstream = Upstream(host, LoginKeyring(Login(), ""), PATIENCE)
    assert upstream.is_called(name) is same
    await upstream.close()


async def test_of_what_refers_to_an_image_so_many_bytes_are_taken() -> None:
    """Whoever may push there decides how many there are, and how long their annotations."""
    listed = [
        {
            "mediaType": mediatypes.OCI_MANIFEST,
            "digest": Digest.of(b"%d" % number),
            "size": 2,
            "annotations": {"words": "a" * 100_000},
        }
        for number in range(20)
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": listed}).encode()
    with Scripted(lambda asked: Answer(200, index, {"content-type": mediatypes.OCI_INDEX})) as far_side:
        upstream = Upstream(far_side.host, LoginKeyring(Login(), ""), replace(PATIENCE, plain_http=True))
        for most, count in ((1 << 20, 10), (4 << 20, 20), (100, 0)):
            found = await upstream.referrers("a", Digest.of(b"subject"), most)
            assert [one.digest for one in found] == [one["digest"] for one in listed[:count]]
            assert sum(map(weight, found)) <= most
        await upstream.close()


@pytest.mark.parametrize(("asked", "told"), [("77", 77), ("99999999999999", 3600)])
async def test_no_client_is_told_to_wait_longer_than_the_mirror_does(asked: str, told: int) -> None:
    with Scripted(lambda _: Answer(429, b"", {"retry-after": asked})) as far_side:
        upstream = Upstream(far_side.host, LoginKeyring(Login(), ""), replace(PATIENCE, plain_http=True))
        for at_least in (told, told - 5):  # what is left of it, the second time
            with pytest.raises(TooMany) as refused:
                await upstream.tags("a", 10)
            assert at_least <= refused.value.retry_after <= told
        assert len(far_side.asked) == 1
        await upstream.close()
