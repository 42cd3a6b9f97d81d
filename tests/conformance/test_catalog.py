"""Docker registry API v2, "Listing Repositories", with registry:2's rules; and the search of API v1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.content import Checked, refused
from tests.support.lading import Lading

NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "ab", "library/one", "library/two", "z"]
"""In byte order."""
MOST = 50


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    settings = {"catalog": {"maxentries": MOST}}
    with Lading(tmp_path_factory.mktemp("catalog"), settings) as server, Checked(server) as client:
        assert client.get("/v2/_catalog").json() == {"repositories": []}
        for name in reversed(NAMES):
            client.image(name, name, "latest")
        client.blob("only/blobs", b"a repository without a manifest is not listed")
        yield client
    assert "Traceback" not in server.output


def test_catalog_lists_in_order(catalog: Checked) -> None:
    """All repositories that hold a manifest, in byte order; ``[]`` when there is none."""
    answer = catalog.get("/v2/_catalog")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"repositories": NAMES}
    assert "link" not in answer.headers


@pytest.mark.parametrize("count", [1, 3, len(NAMES) - 1])
def test_catalog_is_paged(catalog: Checked, count: int) -> None:
    """``n`` at a time; Link is relative, made of last and n alone, and there only while more remain."""
    first = catalog.get("/v2/_catalog", params={"n": count, "other": "x"})
    assert first.json()["repositories"] == NAMES[:count]
    last = NAMES[count - 1].replace("/", "%2F")
    assert first.headers["link"] == f'</v2/_catalog?last={last}&n={count}>; rel="next"'
    found: list[str] = []
    url: str | None = f"/v2/_catalog?n={count}"
    while url:
        page = catalog.get(url)
        found += page.json()["repositories"]
        url = page.links.get("next", {}).get("url")
    assert found == NAMES


@pytest.mark.parametrize("count", [len(NAMES), MOST])
def test_catalog_has_no_link_at_its_end(catalog: Checked, count: int) -> None:
    """The page that holds the last repository has no Link."""
    assert "link" not in catalog.get("/v2/_catalog", params={"n": count}).headers


@pytest.mark.parametrize("last", ["a/", "aa", "library", "zz", "", "A", "nothing/here"])
def test_catalog_last_need_not_exist(catalog: Checked, last: str) -> None:
    """``last`` is any text; what is behind it in byte order is listed."""
    behind = [name for name in NAMES if name > last]
    assert catalog.get("/v2/_catalog", params={"last": last}).json()["repositories"] == behind


def test_catalog_n_zero(catalog: Checked) -> None:
    """``n=0``: an empty list and no Link."""
    answer = catalog.get("/v2/_catalog", params={"n": 0})
    assert answer.json() == {"repositories": []}
    assert "link" not in answer.headers


@pytest.mark.parametrize("bad", [str(MOST + 1), "-1", "abc", "1.5", "9" * 30, "", " 1"])
def test_catalog_n_out_of_bounds_is_refused(catalog: Checked, bad: str) -> None:
    """``n`` beyond catalog.maxentries, below zero or no number: 400."""
    refused(catalog.get("/v2/_catalog", params={"n": bad}), 400, "PAGINATION_NUMBER_INVALID")


def test_catalog_forgets_a_repository_without_manifests(tmp_path: Path) -> None:
    """A repository whose last manifest was deleted is not listed any more."""
    with Lading(tmp_path) as server, Checked(server) as client:
        pushed = client.image("gone/soon", "gone", "t")
        assert client.get("/v2/_catalog").json()["repositories"] == ["gone/soon"]
        client.delete(f"/v2/gone/soon/manifests/{pushed.digest}")
        assert client.get("/v2/_catalog").json()["repositories"] == []


def test_search_finds_by_name(catalog: Checked) -> None:
    """API v1: ping, then search; num_results counts all, results are a page of them."""
    assert catalog.get("/v1/_ping").status_code == 200
    found = catalog.get("/v1/search", params={"q": "library", "n": 1}).json()
    assert (found["query"], found["num_results"], found["num_pages"], found["page"]) == ("library", 2, 2, 1)
    second = catalog.get("/v1/search", params={"q": "library", "n": 1, "page": 2}).json()
    names = [one["name"] for one in found["results"] + second["results"]]
    assert sorted(names) == ["library/one", "library/two"]
    assert set(found["results"][0]) >= {"name", "description", "star_count", "is_official", "is_automated"}


@pytest.mark.parametrize("term", ["%", "_", "\\", "'", '"; DROP TABLE tags', "\x00", "ä" * 3000, ""])
def test_search_takes_any_term(catalog: Checked, term: str) -> None:
    """A term is text, not a pattern."""
    answer = catalog.get("/v1/search", params={"q": term})
    assert answer.status_code == 200
    if term.strip("\0"):
        assert answer.json()["results"] == []


@pytest.mark.parametrize("bad", [{"n": "x"}, {"n": "-1"}, {"page": "x"}, {"page": "1.5"}, {"n": "9" * 30}])
def test_search_numbers_are_numbers(catalog: Checked, bad: dict[str, str]) -> None:
    """n and page are numbers."""
    refused(catalog.get("/v1/search", params={"q": "a", **bad}), 400, "PAGINATION_NUMBER_INVALID")
