"""The client's ways with a Harbor, on a server that has Harbor's API and says of itself what a Harbor says."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.support import images
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.client import User
from tests.support.lading import PROGRAM
from tests.support.process import run


def test_a_project_is_made_filled_listed_and_emptied(tmp_path: Path) -> None:
    images.write_layout(tmp_path / "layout", {"v1": images.image(1, layers=[1000])})
    with WithAccounts(tmp_path / "server", {"service": "harbor-registry"}) as registry:
        pair = base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()
        login = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {registry.host: {"auth": pair}}}), "HOME": str(tmp_path)}
        image = f"{registry.host}/new/deep/app"
        push: list[str | Path] = [PROGRAM, "copy", "--quiet", f"oci:{tmp_path / 'layout'}:v1", f"{image}:v1"]
        refused = run(push, environment=login, check=False)
        assert refused.returncode != 0
        assert "wants the project made before a push: --create does it" in refused.stderr
        run([*push, "--create"], environment=login)
        run([PROGRAM, "copy", "--quiet", f"{image}:v1", f"{image}:v2"], environment=login)
        assert run([PROGRAM, "repos", registry.host], environment=login).stdout == "new/deep/app\n"
        assert run([PROGRAM, "repos", f"{registry.host}/new"], environment=login).stdout == "new/deep/app\n"
        assert "new/deep/app" in run([PROGRAM, "search", f"{registry.host}/deep"], environment=login).stdout
        run([PROGRAM, "delete", f"{image}:v1"], environment=login)
        assert run([PROGRAM, "tags", image], environment=login).stdout == "v2\n"
        assert run([PROGRAM, "delete", f"{image}:v1"], environment=login, check=False).returncode == 3
        run([PROGRAM, "delete", "--yes", "--manifest", f"{image}:v2"], environment=login)
        assert run([PROGRAM, "tags", image], environment=login).stdout == ""


def test_a_project_of_another_lading_is_made_with_a_password(tmp_path: Path) -> None:
    """What login keeps there is a token for the registry alone, and its API takes none."""
    folder = images.write_layout(tmp_path / "layout", {"v1": images.image(1, layers=[1000])})
    user = User(tmp_path / "home")
    with WithAccounts(tmp_path / "server") as registry:
        new, other = f"{registry.host}/new/app:1", f"{registry.host}/other/app:1"
        user("login", "-u", ADMIN, "--password-stdin", registry.host, stdin=PASSWORD)
        assert "the project made before a push: --create does it" in user("push", folder, new, status=3)
        said = user("push", "--create", folder, new, status=3)
        assert f"kept for {registry.host} is a token, which may push and pull and makes no project" in said
        assert "lading admin project create new" in said
        registry.project("new")
        user("push", "--create", folder, new)

        pair = base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()
        user.environment["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {registry.host: {"auth": pair}}})
        user("push", "--create", folder, other)
        user("push", "--create", folder, f"{registry.host}/alone:1")
        assert user("repos", registry.host).split() == ["alone", "new/app", "other/app"]
        registry.user("alice")
        pair = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        user.environment["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {registry.host: {"auth": pair}}})
        user("push", "--create", folder, f"{registry.host}/hers/app:1")  # whoever may make projects
