"""Settings that administrators change while the registry runs; what is not set is as the configuration has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lading.errors import Invalid
from lading.stores.metadata import facts
from lading.stores.metadata.transaction import Transaction

EVERYONE, ADMINS = "everyone", "adminonly"
_PREFIX = "setting:"
KEYS = ("banner_message", "project_creation_restriction", "robot_token_duration", "storage_per_project")


class Configured(Protocol):
    """What the configuration says of it."""

    @property
    def everyone_creates(self) -> bool: ...


@dataclass(frozen=True)
class Changed:
    """The settings.

    ``robot_days`` is how long a robot lives that does not say, -1 for ever; ``project_bytes`` a new project's quota, -1
    for none; ``creating`` is who may make projects, empty: as configured.
    """

    banner: str = ""
    creating: str = ""
    robot_days: int = 30
    project_bytes: int = -1

    def creators(self, configured: Configured) -> str:
        """Who may make projects."""
        return self.creating or (EVERYONE if configured.everyone_creates else ADMINS)


async def given(tx: Transaction) -> dict[str, str]:
    """Those that were set, under their names."""
    return await facts.below(tx, _PREFIX)


async def read(tx: Transaction) -> Changed:
    """The settings as they are."""
    found = await given(tx)
    return Changed(
        banner=found.get("banner_message", ""),
        creating=found.get("project_creation_restriction", ""),
        robot_days=int(found.get("robot_token_duration", "30")),
        project_bytes=int(found.get("storage_per_project", "-1")),
    )


async def change(tx: Transaction, name: str, value: str | int) -> None:
    """Set one of them; raises ``Invalid`` for what it cannot be."""
    check(name, value)
    assert name in KEYS
    await facts.write(tx, f"{_PREFIX}{name}", str(value))


def check(name: str, value: str | int) -> None:
    """Raise ``Invalid`` for what a setting cannot be."""
    if name == "banner_message" and not (isinstance(value, str) and len(value) <= 4096):
        raise Invalid("banner_message is a text of at most 4096 characters")
    if name == "project_creation_restriction" and value not in (EVERYONE, ADMINS):
        raise Invalid(f"project_creation_restriction is {EVERYONE} or {ADMINS}")
    if name == "robot_token_duration" and not _whole(value, 1, 36_500):
        raise Invalid("robot_token_duration is a number of days, 1 to 36500, or -1 for ever")
    if name == "storage_per_project" and not _whole(value, 1, 2**53):
        raise Invalid("storage_per_project is a number of bytes, or -1 for no limit")


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value == -1 or least <= value <= most)
