"""The pipelines of docs/how-to/ci.md, as a job runs them: their own lines, in a shell, with a robot's login."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.e2e.containers import HTTP, Tool
from tests.e2e.engine import Engine, debian_docker
from tests.support import images
from tests.support.accounts import WithAccounts
from tests.support.http import Client
from tests.support.lading import PROGRAM
from tests.support.process import run

pytestmark = pytest.mark.timeout(120)

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "ci.md").read_text()
ROBOT, HOST, NAME = "robot@team+ci", "registry.example.com", "team/app"


class Project(NamedTuple):
    """A private project, a robot that may what the page gives it, and its secret."""

    server: WithAccounts
    secret: str


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with WithAccounts(tmp_path_factory.mktemp("ci"), workers=2) as server:
        server.project("team")
        (line,) = re.findall(r"^lading admin (robot create ci .*)$", PAGE, re.MULTILINE)
        more = re.search(r"it needs\s+`(--allow .*?)` as well", PAGE, re.DOTALL)
        assert more
        printed = server.admin(*line.split(), *more[1].split())
        (secret,) = re.findall(r"lading_rbt_\w+", printed)
        yield Project(server, secret)


@pytest.fixture
def job(project: Project, tmp_path: Path) -> dict[str, str]:
    """The variables of a job in a checkout; ``docker`` and ``lading`` are the ones that are tested."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").symlink_to(debian_docker())
    (programs / "lading").symlink_to(PROGRAM)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
    (tmp_path / "file").write_bytes(b"".join(images.noise(str(tmp_path), 50_000)))
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "DOCKER_CONFIG": str(tmp_path / ".docker"),
        "REGISTRY_USER": ROBOT,
        "REGISTRY_PASSWORD": project.secret,
    }


def gitlab(name: str) -> Mapping[str, Any]:
    """A job of the page's ``.gitlab-ci.yml`` files."""
    for text in re.findall(r"^```yml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        found = yaml.safe_load(text)
        if isinstance(found, dict) and name in found:
            return dict(found[name])
    raise AssertionError(f"the page has no job {name}")


def script(project: Project, lines: str, variables: Mapping[str, str], folder: Path) -> str:
    """What the lines print, each of which must succeed, on our registry in place of the page's."""
    here = lines.replace(HOST, project.server.host)
    own = {name: value.replace(HOST, project.server.host) for name, value in variables.items()}
    return run(["sh", "-ec", here], environment=own, directory=folder, timeout=100).stdout


def tags(project: Project, repository: str = NAME) -> list[str]:
    with project.server.bearer(ROBOT, f"repository:{repository}:pull", password=project.secret) as client:
        return client.tags(repository)


def test_docker_in_a_job_of_gitlab(project: Project, job: dict[str, str], engine: Engine, tmp_path: Path) -> None:
    told = gitlab("docker")
    own = {**told["variables"], **job, "DOCKER_HOST": engine.host, "DOCKER_BUILDKIT": "0", "CI_COMMIT_SHA": "docker1"}
    script(project, "\n".join(told["script"]), own, tmp_path)
    engine.forget(f"{project.server.host}/{NAME}:docker1")
    assert "docker1" in tags(project)


def test_buildah_in_a_job_of_gitlab(project: Project, job: dict[str, str], tmp_path: Path) -> None:
    tool = Tool("buildah", tmp_path)
    registries = Path(tool.environment["CONTAINERS_REGISTRIES_CONF"])
    with registries.open("a") as file:
        file.write(f'[[registry]]\nlocation = "{project.server.host}"\ninsecure = true\n')
    root, runroot = (str(word).partition("=")[2] for word in tool.argv[1:3])
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{root}"\nrunroot = "{runroot}"\n')
    told = gitlab("buildah")
    own = {**told["variables"], **job, **tool.environment, "CONTAINERS_STORAGE_CONF": str(storage)}
    lines = "\n".join(told["script"]).replace("buildah login", f"buildah login {HTTP}")  # registries.conf is not asked
    for sha in ("buildah1", "buildah2"):
        script(project, lines, {**own, "CI_COMMIT_SHA": sha}, tmp_path)
    assert {"buildah1", "buildah2"} <= set(tags(project))
    assert tags(project, f"{NAME}/cache")


def test_lading_releases_in_a_job_of_gitlab(project: Project, job: dict[str, str], tmp_path: Path) -> None:
    image = images.image("released")
    with Client(project.server, auth=(ROBOT, project.secret)) as client:
        client.push(NAME, image, "lading1")
    told = gitlab("release")
    own = {**told["variables"], **job, "CI_COMMIT_SHA": "lading1", "CI_COMMIT_TAG": "v1.0"}
    script(project, "\n".join(told["script"]), own, tmp_path)
    with Client(project.server, auth=(ROBOT, project.secret)) as client:
        assert client.manifest(NAME, "v1.0").headers["docker-content-digest"] == image.digest


def test_the_shell(project: Project, job: dict[str, str], tmp_path: Path) -> None:
    """The whole section is one script."""
    image = images.image("shell", docker=True)
    images.write_docker_archive(tmp_path / "app.tar", image, ["app:1"])
    with Client(project.server, auth=(ROBOT, project.secret)) as client:
        for tag in ("pr-17-a", "pr-17-b", "pr-170"):
            client.push(NAME, images.image("shell"), tag)
    section = PAGE.partition("## A shell, anywhere\n")[2]
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    script(project, lines, {**job, "COMMIT": "shell1", "TMPDIR": str(tmp_path)}, tmp_path)
    with Client(project.server, auth=(ROBOT, project.secret)) as client:
        (digest,) = {client.manifest(NAME, tag).headers["docker-content-digest"] for tag in ("shell1", "main")}
        assert client.manifest(NAME, "main").json()["config"]["digest"] == image.config.digest
        assert client.manifest(NAME, "pr-170").status_code == 200
    assert (tmp_path / "digest.txt").read_text() == f"{digest}\n"
    assert not {"pr-17-a", "pr-17-b"} & set(tags(project))
    assert not list(tmp_path.glob("tmp.*"))
    assert not (tmp_path / ".docker").exists()
