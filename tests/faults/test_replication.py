"""Replication while the line is cut and while processes are killed: both sides become the same, and nothing half is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cutting import DOWN, UP, Cutting
from tests.support.images import image
from tests.support.patience import eventually
from tests.support.replication import Replicating

_SIZE = 6_000_000
_TENTHS = [_SIZE * number // 10 for number in range(1, 10)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Replicating]:
    with Replicating(tmp_path / "here") as server:
        yield server


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Replicating]:
    with Replicating(tmp_path / "there") as server:
        yield server


def test_a_line_that_is_cut_at_every_tenth(here: Replicating, there: Replicating) -> None:
    up, down = image("up", [_SIZE]), image("down", [_SIZE])
    here.push("cut/up", up, "v1")
    there.push("cut/down", down, "v1")
    with Cutting(there.port) as line:
        far = here.endpoint("there", line.url)
        pushing = here.policy("push", to=far, filters=[{"type": "name", "value": "cut/up"}])
        line.cut_at(UP, _TENTHS)
        done = here.replicate(pushing)
        assert done["status"] == "Succeed", here.told(done["id"])
        assert there.digest("cut/up", "v1") == up.digest
        assert line.cuts == len(_TENTHS)
        assert line.moved[UP] < 2 * _SIZE, "each break began the layer anew"

        pulling = here.policy("pull", origin=far, filters=[{"type": "name", "value": "cut/down"}])
        line.cut_at(DOWN, _TENTHS)
        done = here.replicate(pulling)
        assert done["status"] == "Succeed", here.told(done["id"])
        assert here.digest("cut/down", "v1") == down.digest
        assert line.cuts == 2 * len(_TENTHS)
        assert line.moved[DOWN] < 2 * _SIZE, "each break began the layer anew"
    for registry in (here, there):
        registry.run("verify", "--config", registry.configuration)


def test_a_push_is_not_given_up_while_the_other_side_is_away(here: Replicating, there: Replicating) -> None:
    """An update of the other side takes minutes, and nobody pushes again because of it."""
    far = here.endpoint("there", there.url)
    here.policy(
        "each push",
        to=far,
        filters=[{"type": "name", "value": "away/**"}],
        trigger={"type": "event_based"},
        override=True,
    )
    there.stop()
    here.push("away/app", image("away", [1000]), "v1")
    begun = eventually(lambda: here.operator.get("/replication/executions").json(), "the execution")[0]["id"]
    eventually(lambda: here.told(begun).count("tried again") >= 4, "more attempts than somebody would wait for", 120)
    assert here.execution(begun)["status"] == "InProgress"


def test_two_that_replicate_to_each_other_while_each_is_killed(here: Replicating, there: Replicating) -> None:
    def both_ways(registry: Replicating, other: Replicating) -> None:
        registry.policy(
            "to the other",
            to=registry.endpoint("other", other.url),
            filters=[{"type": "name", "value": "shared/**"}],
            trigger={"type": "event_based"},
            speed=2000,  # slow enough to be killed in the middle
        )

    both_ways(here, there)
    both_ways(there, here)
    pushed = {}
    for number in range(3):
        for registry, side in ((here, "here"), (there, "there")):
            name, content = f"shared/{side}{number}", image(f"{side}{number}", [1_500_000])
            registry.push(name, content, "v1")
            pushed[name] = content.digest
    for victim in (there, here):
        victim.kill9()
        victim.start()

    def same() -> bool:
        return all(
            registry.digest(name, "v1") == digest for registry in (here, there) for name, digest in pushed.items()
        )

    eventually(same, "both have everything")
    for registry in (here, there):
        registry.run("verify", "--config", registry.configuration)
