"""Distribution spec, "Listing Tags"."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Serve
from tests.conformance.content import Checked, Pushed, refused

TAGS = ["0", "1.0", "1.10", "1.2", "A", "B", "Z", "_x", "a", "b", "latest", "v1", "v10", "v2", "z-z"]
"""In ASCII order."""


@pytest.fixture
def tagged(client: Checked, name: str) -> Pushed:
    """A manifest with all of the tags, set in no particular order."""
    pushed = client.image(name, "tagged")
    for tag in sorted(TAGS, key=lambda tag: tag[::-1]):
        client.accepted(name, pushed, tag)
    return pushed


@pytest.mark.usefixtures("tagged")
def test_listing_must_be_200_in_order(client: Checked, name: str) -> None:
    """Listing Tags: 200, name and tags, in ASCII order."""
    answer = client.get(f"/v2/{name}/tags/list")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"name": name, "tags": TAGS}
    assert "link" not in answer.headers


def test_listing_may_be_empty(client: Checked, name: str) -> None:
    """Listing Tags: a repository without tags has an empty list, not a missing one."""
    client.image(name, "untagged")
    assert client.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": []}


def test_listing_a_repository_that_is_not_there(client: Checked, name: str) -> None:
    """Endpoints: end-8 of an unknown repository answers 404."""
    refused(client.get(f"/v2/{name}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("count", [1, 2, 7, len(TAGS) - 1, len(TAGS), len(TAGS) + 1, 1000])
def test_listing_n_must_be_kept_to(client: Checked, name: str, count: int) -> None:
    """Listing Tags: n of them from the beginning; fewer only where there are no more, and a Link where there are."""
    answer = client.get(f"/v2/{name}/tags/list", params={"n": count})
    assert answer.json()["tags"] == TAGS[:count]
    assert ("link" in answer.headers) == (count < len(TAGS))


@pytest.mark.usefixtures("tagged")
def test_listing_n_zero_must_be_empty_without_link(client: Checked, name: str) -> None:
    """Listing Tags: n=0 gives an empty list and no Link."""
    answer = client.get(f"/v2/{name}/tags/list", params={"n": 0})
    assert answer.json()["tags"] == []
    assert "link" not in answer.headers


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("count", [1, 3, 4])
def test_listing_link_must_lead_to_the_next_page(client: Checked, name: str, count: int) -> None:
    """Listing Tags: Link is RFC 5988's with rel="next"; following it gives every tag once."""
    found: list[str] = []
    url: str | None = f"/v2/{name}/tags/list?n={count}"
    while url:
        page = client.get(url)
        assert len(page.json()["tags"]) <= count
        found += page.json()["tags"]
        link = page.headers.get("link")
        assert link is None or (link.startswith("<") and link.endswith('>; rel="next"'))
        url = page.links.get("next", {}).get("url")
    assert found == TAGS


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("last", [*TAGS, "1.1", "c", "zzz", "", "Latest"])
def test_listing_last_must_not_be_included(client: Checked, name: str, last: str) -> None:
    """Listing Tags: with last, the tags after it; it need not exist, and n is optional beside it."""
    behind = [tag for tag in TAGS if tag > last]
    assert client.get(f"/v2/{name}/tags/list", params={"last": last}).json()["tags"] == behind
    page = client.get(f"/v2/{name}/tags/list", params={"last": last, "n": 2})
    assert page.json()["tags"] == behind[:2]
    assert ("link" in page.headers) == (len(behind) > 2)


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("bad", ["-1", "abc", "1.5", "", " ", "1e3", "9" * 40, "٣", "0x10", "+1"])
def test_listing_n_that_is_no_number_is_refused(client: Checked, name: str, bad: str) -> None:
    """Listing Tags: n is an integer; anything else gets PAGINATION_NUMBER_INVALID, as from registry:2."""
    refused(client.get(f"/v2/{name}/tags/list", params={"n": bad}), 400, "PAGINATION_NUMBER_INVALID")


def test_listing_n_beyond_the_maximum_is_clamped(serve: Serve, name: str) -> None:
    """Listing Tags: a registry may answer with fewer when it sends a Link; ours cuts n to tags.maxtags."""
    client = serve(tags={"maxtags": 3})
    pushed = client.image(name, "many")
    client.put_manifest(name, pushed, params={"tag": TAGS})
    page = client.get(f"/v2/{name}/tags/list", params={"n": 100})
    assert page.json()["tags"] == TAGS[:3]
    assert page.links["next"]["url"] == f"/v2/{name}/tags/list?last=1.10&n=3"
    assert client.tags(name) == TAGS
