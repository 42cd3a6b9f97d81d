"""``validation``, ``policy``, ``catalog``, ``tags``: what is taken, and how much is answered at once."""

import re
from typing import Annotated, Literal

from lading.config.fields import After, Flag, Section, Text, Whole, group, one_of, setting


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        raise ValueError("is not a regular expression (Lading takes Python's)") from None
    return text


def _entries(count: int) -> int:
    return count if count > 0 else 1000


def _tags(count: int) -> int:
    if count < 0:
        raise ValueError("must not be negative")
    return count or 1000


Expression = Annotated[Text, After(_expression)]


class URLs(Section):
    allow: tuple[Expression, ...] = setting(
        (),
        "Regular expressions: a layer's URL must match one. Empty: any http or https URL, where registry:2 takes none; "
        "Lading never fetches them.",
    )
    deny: tuple[Expression, ...] = setting((), "Regular expressions: a layer's URL must match none.")


class Platform(Section):
    architecture: Text = setting("", "The architecture, as amd64.")
    os: Text = setting("", "The operating system, as linux.")


class Indexes(Section):
    platforms: Annotated[Literal["all", "none", "list"], one_of("all", "none", "list")] = setting(
        "all", "Which manifests an index names must be there: all, none, or those for the platforms in platformlist."
    )
    platformlist: tuple[Platform, ...] = setting((), "The platforms, when platforms is list.")


class Manifests(Section):
    urls: URLs = group("URLs in manifests.")
    layers: Annotated[Literal["all", "none"], one_of("all", "none")] = setting(
        "all", "Lading: whether the config and layers an image names must be there: all, or none of them."
    )
    indexes: Indexes = group("Manifests that indexes name.")


class Validation(Section):
    enabled: Flag = setting(False, "Deprecated, use disabled; true outdoes disabled: true.")
    disabled: Flag = setting(False, "Check neither URLs nor what indexes name.")
    manifests: Manifests = group("Checks on manifests.")

    @property
    def active(self) -> bool:
        """Whether to check."""
        return self.enabled or not self.disabled


class Repository(Section):
    classes: tuple[Text, ...] = setting(
        (), "The classes of images taken, image and plugin, told by the media type of the config; empty: every one."
    )


class Policy(Section):
    repository: Repository = group("What repositories may hold.")


class Catalog(Section):
    maxentries: Annotated[Whole, After(_entries)] = setting(
        1000, "The most repositories a client may ask for at once; 0 or less is 1000."
    )


class Tags(Section):
    maxtags: Annotated[Whole, After(_tags)] = setting(1000, "The most tags answered at once; 0 is 1000.")
