"""The reference page is what the model says, and the model says something of every key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.config.document import document
from lading.config.fields import Section
from lading.config.model import Configuration
from lading.config.shape import Shape, about, keys_of

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def described(section: type[Section], at: str) -> Iterator[tuple[str, str]]:
    for key, field, shape in keys_of(section):
        yield f"{at}{key}", field.description or ""
        below: Shape | None = shape
        while below is not None and below.section is None:
            below = below.of
        if below is not None and below.section is not None:
            yield from described(below.section, f"{at}{key}.")


KEYS = list(described(Configuration, ""))


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == document(), "run: python -m lading.config.document > docs/reference/configuration.md"


@pytest.mark.parametrize(("key", "description"), KEYS, ids=[key for key, _ in KEYS])
def test_every_key_says_in_a_line_what_it_does(key: str, description: str) -> None:
    assert description.endswith(".")
    assert "\n" not in description
    assert key.rpartition(".")[2] == key.rpartition(".")[2].lower()
    theirs = ("storage.azure.max_retries", "storage.azure.retry_delay")  # registry:2's, which no variable reaches there
    assert "_" not in key or key in theirs, "a key with an underscore cannot be reached by a variable"


def test_every_refusal_is_on_the_page() -> None:
    page = document()
    for key, field, _ in keys_of(Configuration):
        for what in ("refused", "no_effect"):
            if (reason := about(field, what)) is not None:
                assert f"## `{key}`" in page
                assert reason in page


def test_the_page_names_the_variables_where_they_differ() -> None:
    page = document()
    for variable in (
        "REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES",
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL",
        "REGISTRY_HEALTH_HTTPCHECKERS_0_URI",
        "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE",
        "REGISTRY_LIMITS_MANIFESTSIZE",
    ):
        assert f"`{variable}`" in page
    assert "REGISTRY_VERSION" not in page
