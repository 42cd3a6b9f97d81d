"""Replication as an operator does it: endpoints, policies and executions over the API of a Lading under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.images import Image, Index
from tests.support.patience import eventually
from tests.support.server import merged

NETWORKS = {"replication": {"networks": ["127.0.0.0/8"]}}


class Replicating(WithAccounts):
    """A Lading with accounts that may reach loopback; ``operator`` is its administrator at the API."""

    def __init__(self, root: Path, configuration: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(root, configuration=merged(NETWORKS, configuration or {}), **options)
        self._clients: list[Client] = []

    @property
    def operator(self) -> Client:
        if not self._clients:
            self._clients.append(Client(self.url + "/api/v2.0", auth=(ADMIN, PASSWORD), verify=self.verify))
        return self._clients[0]

    def stop(self, grace: float = 15) -> int:
        for client in self._clients:
            client.close()
        self._clients.clear()
        return super().stop(grace)

    # ---- content

    def push(self, repository: str, content: Image | Index, *tags: str) -> str:
        """Push as the administrator, whose project is made where it is missing; the digest."""
        project = repository.partition("/")[0]
        self.operator.post("/projects", json={"project_name": project})
        with self.bearer(ADMIN, f"repository:{repository}:pull,push") as client:
            digest = client.push(repository, content, tags[0] if tags else None)
            for tag in tags[1:]:
                client.push_manifest(repository, content.manifest, tag)
        return digest

    def digest(self, repository: str, reference: str) -> str:
        """What a tag or digest stands for; empty if it is not there."""
        with self.bearer(ADMIN, f"repository:{repository}:pull") as client:
            answer = client.manifest(repository, reference)
        assert answer.status_code in (200, 404), answer.text
        return str(answer.headers["docker-content-digest"]) if answer.status_code == 200 else ""

    def referrers(self, repository: str, digest: str) -> list[str]:
        """The digests of what refers to a manifest."""
        with self.bearer(ADMIN, f"repository:{repository}:pull") as client:
            return [one["digest"] for one in client.get(f"/v2/{repository}/referrers/{digest}").json()["manifests"]]

    def untag(self, repository: str, tag: str) -> None:
        with self.bearer(ADMIN, f"repository:{repository}:pull,delete") as client:
            assert client.delete(f"/v2/{repository}/manifests/{tag}").status_code == 202

    # ---- replication

    def endpoint(self, name: str, url: str, **given: Any) -> int:
        credential = {"type": "basic", "access_key": ADMIN, "access_secret": PASSWORD}
        body = {"name": name, "url": url, "type": "harbor", "credential": credential, **given}
        return made(self.operator.post("/registries", json=body))

    def policy(self, name: str, *, to: int = 0, origin: int = 0, **given: Any) -> int:
        body = {"name": name, "src_registry": {"id": origin}, "dest_registry": {"id": to}, "enabled": True, **given}
        return made(self.operator.post("/replication/policies", json=body))

    def replicate(self, policy: int) -> dict[str, Any]:
        """Do a policy; its execution when it has ended."""
        begun = made(self.operator.post("/replication/executions", json={"policy_id": policy}))
        return self.ended(begun)

    def ended(self, execution: int) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.execution(execution)
            return None if found["status"] == "InProgress" else found

        return eventually(look, f"execution {execution}")

    def execution(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.operator.get(f"/replication/executions/{number}").json()
        return found

    def tasks(self, execution: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.operator.get(
            f"/replication/executions/{execution}/tasks", params={"page_size": 100}
        ).json()
        return found

    def told(self, execution: int) -> str:
        """What all tasks of an execution wrote down."""
        path = f"/replication/executions/{execution}/tasks"
        return "".join(self.operator.get(f"{path}/{task['id']}/log").text for task in self.tasks(execution))


def made(answer: httpx2.Response) -> int:
    """The id of what was made, from its Location."""
    assert answer.status_code == 201, answer.text
    return int(answer.headers["location"].rpartition("/")[2])
