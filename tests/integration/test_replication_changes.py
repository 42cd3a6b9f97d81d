"""Policies that are changed while their executions go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.images import image
from tests.support.patience import eventually
from tests.support.replication import Replicating, made


def test_a_policy_is_turned_round_only_when_nothing_of_it_is_under_way(tmp_path: Path) -> None:
    """What waits was planned for the other side: brought the other way it would overwrite, or delete, what is here."""
    with Replicating(tmp_path) as here:
        back, other = (here.endpoint(name, here.url) for name in ("back", "other"))
        here.push("slow/app", image("slow", [900_000]), "v1")
        common: dict[str, Any] = {"dest_namespace": "copies", "filters": [{"type": "name", "value": "slow/**"}]}
        policy = here.policy("slow", to=back, speed=1, **common)
        run = made(here.operator.post("/replication/executions", json={"policy_id": policy}))
        eventually(lambda: here.tasks(run) and here.tasks(run)[0]["status"] == "InProgress", "begun")
        path = f"/replication/policies/{policy}"
        found = here.operator.get(path).json()
        for change in (
            {"src_registry": {"id": back}, "dest_registry": {"id": 0}},
            {"dest_registry": {"id": other}},
        ):
            refused = here.operator.put(path, json={**found, **change})
            assert (refused.status_code, "stop it first" in refused.text) == (412, True)
        assert here.operator.put(path, json={**found, "description": "of our own"}).status_code == 200
        assert here.operator.put(f"/replication/executions/{run}").status_code == 200
        assert here.operator.put(path, json={**found, "dest_registry": {"id": other}}).status_code == 200
        assert here.operator.get(path).json()["dest_registry"]["name"] == "other"
