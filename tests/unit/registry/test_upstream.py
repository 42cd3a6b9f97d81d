"""What a mirror calls its upstream's repositories, and what clients call the upstream."""

from __future__ import annotations

import pytest

from lading.registry.upstream import PATIENCE, Login, LoginKeyring, Upstream

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
