"""``docker-credential-lading``: docker's helper protocol, by hand and by the clients that speak it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lading.remotes.adapters.kept import Kept
from tests.support import images
from tests.support.process import run
from tests.support.scripted import Answer, Asked, json_answer
from tests.support.vendor import Vendor, basic, problem
from tests.support.vendors import Azure, GitHub, SomeGitLab
from tests.support.world import World

PROGRAM = Path(sys.executable).with_name("docker-credential-lading")
REGION = "eu-central-1"
ECR = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
HOURS = 3600.0


class Amazon(Vendor):
    """ECR with an API that counts what it gives: Basic, by the token of the day."""

    host = ECR
    kind = images.DOCKER_MANIFEST  # docker 20.10 shows no other

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.lasts = 12 * HOURS

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {**super().hosts, f"api.ecr.{REGION}.amazonaws.com": self.api}

    def api(self, asked: Asked) -> Answer:
        assert asked.headers["x-amz-target"].endswith(".GetAuthorizationToken")
        self.made.append(f"token-{len(self.made)}")
        token = base64.b64encode(f"AWS:{self.made[-1]}".encode()).decode()
        return json_answer(
            {"authorizationData": [{"authorizationToken": token, "expiresAt": time.time() + self.lasts}]}
        )

    def lacks(self, asked: Asked, scope: str) -> Answer | None:
        user, password = basic(asked)
        if user == "AWS" and password in self.made:
            return None
        challenge = f'Basic realm="https://{ECR}/",service="ecr.amazonaws.com"'
        return problem(401, "DENIED", "Not Authorized", **{"www-authenticate": challenge})


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "DOCKER_CONFIG": ""}


@pytest.fixture
def amazon(environment: dict[str, str], tmp_path: Path) -> Iterator[Amazon]:
    vendor = Amazon()
    with World(vendor.hosts, tmp_path) as world:
        environment |= {**world.environment, **KEYS}
        yield vendor


def ask(environment: Mapping[str, str], action: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return run([PROGRAM, action], environment=environment, stdin=given, check=False)


def login(environment: Mapping[str, str], given: str) -> tuple[str, str]:
    done = ask(environment, "get", given)
    assert done.returncode == 0, done.stdout
    answer = json.loads(done.stdout)
    assert answer["ServerURL"] == given.strip()
    return answer["Username"], answer["Secret"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("version > /dev/full", 1, "No space left"),
        ("version >&-", 0, ""),
        ("version | true", 0, ""),
        ("get <&-", 1, ""),
        (r"get < <(printf '\xff\xfe')", 1, ""),
    ],
)
def test_streams_that_are_closed_full_or_no_text(
    environment: dict[str, str], words: str, status: int, said: str
) -> None:
    done = run(["bash", "-c", f"{PROGRAM} {words}"], environment=environment, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_a_login_is_made_once_and_kept(amazon: Amazon, environment: dict[str, str], tmp_path: Path) -> None:
    for given in (ECR, f"https://{ECR}", f"https://{ECR}/", f"{ECR}\n"):
        assert login(environment, given) == ("AWS", "token-0")
    file = tmp_path / "home" / ".cache" / "lading" / "logins.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(ask(environment, "list").stdout) == {f"https://{ECR}": "AWS"}
    assert ask(environment, "erase", f"https://{ECR}").returncode == 0
    assert "token-0" not in file.read_text()
    assert login(environment, ECR) == ("AWS", "token-1")


def test_half_of_its_time_is_enough(amazon: Amazon, environment: dict[str, str], tmp_path: Path) -> None:
    assert login(environment, ECR) == ("AWS", "token-0")
    file = tmp_path / "home" / ".cache" / "lading" / "logins.json"
    entries = json.loads(file.read_text())
    assert entries[ECR]["half"] == pytest.approx(time.time() + 6 * HOURS, abs=120)
    entries[ECR]["half"] = time.time() - 1
    file.write_text(json.dumps(entries))
    assert login(environment, ECR) == ("AWS", "token-1")


def test_another_profile_is_another_login(amazon: Amazon, environment: dict[str, str]) -> None:
    assert login(environment, ECR) == ("AWS", "token-0")
    assert login({**environment, "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7OTHERS"}, ECR) == ("AWS", "token-1")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r.lab": 1}', '{"r.lab": {"whose": "x"}}', "\x00"])
def test_a_broken_file_is_written_anew(text: str, environment: dict[str, str]) -> None:
    kept = Kept(environment)
    kept.path.parent.mkdir(parents=True)
    kept.path.write_text(text)
    assert kept.find("r.lab") is None
    kept.keep("r.lab", "alice", "secret", time.time() + HOURS)
    assert Kept(environment).find("r.lab") == ("alice", "secret")


def test_a_folder_that_cannot_be_written_is_no_error(environment: dict[str, str]) -> None:
    kept = Kept({**environment, "XDG_CACHE_HOME": "/proc/nowhere"})
    kept.keep("r.lab", "alice", "secret", time.time() + HOURS)
    kept.forget("r.lab")
    assert kept.users() == {}


def test_azures_is_an_identity_token(environment: dict[str, str], tmp_path: Path) -> None:
    vendor = Azure()
    with World(vendor.hosts, tmp_path) as world:
        environment |= {**world.environment, **vendor.variables}
        assert login(environment, f"https://{vendor.host}") == ("<token>", vendor.refresh)
        assert login(environment, f"https://{vendor.host}") == ("<token>", vendor.refresh)
    assert len(vendor.exchanged) == 1


def test_a_jobs_own_variables(environment: dict[str, str]) -> None:
    assert login({**environment, **GitHub.variables}, "https://ghcr.io") == ("octocat", "ghs_x")
    assert login({**environment, **SomeGitLab.variables}, SomeGitLab.host) == ("gitlab-ci-token", "job-token")
    assert json.loads(ask({**environment, **GitHub.variables}, "list").stdout) == {}, "nothing to renew, nothing kept"


def test_what_it_has_nothing_for(environment: dict[str, str]) -> None:
    for given in ("registry.lab:5000", "https://index.docker.io/v1/", "ghcr.io"):
        done = ask(environment, "get", given)
        assert (done.returncode, done.stdout) == (1, "credentials not found in native keychain\n")
    assert ask(environment, "get", " \n").stdout == "no credentials server URL\n"
    assert ask(environment, "erase", "registry.lab").returncode == 0
    document = json.dumps({"ServerURL": "registry.lab", "Username": "alice", "Secret": "pass-word"})
    stored = ask(environment, "store", document)
    assert stored.returncode == 1
    assert "credHelpers" in stored.stdout
    assert "pass-word" not in stored.stdout
    assert ask(environment, "steal").returncode == 2


def test_a_cloud_that_refuses_is_told_in_a_line(environment: dict[str, str], tmp_path: Path) -> None:
    refused = {"__type": "UnrecognizedClientException", "message": "The security token is invalid."}
    hosts: dict[str, Any] = {f"api.ecr.{REGION}.amazonaws.com": lambda asked: json_answer(refused, 400)}
    with World(hosts, tmp_path) as world:
        done = ask({**environment, **world.environment, **KEYS}, "get", ECR)
    assert done.returncode == 1
    assert "The security token is invalid." in done.stdout
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("client", ["docker", "skopeo", "podman", "lading"])
def test_clients_ask_it(client: str, amazon: Amazon, environment: dict[str, str], tmp_path: Path) -> None:
    """The configuration names it; the client finds it on PATH, asks it, and says to the registry what it said."""
    file = tmp_path / "home" / ".docker" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"credHelpers": {ECR: "lading"}}))
    path = f"{PROGRAM.parent}:{environment.get('PATH', os.environ['PATH'])}"
    environment |= {"PATH": path, "DOCKER_CONFIG": str(file.parent)}
    image = f"{ECR}/{amazon.private}"
    with tempfile.TemporaryDirectory(prefix="lading-") as short:  # podman refuses a runroot of more than 50 characters
        storage = [f"--root={tmp_path}/root", f"--runroot={short}", "--storage-driver=vfs"]
        commands: dict[str, list[str | Path]] = {
            "docker": ["docker", "manifest", "inspect", f"{image}:v1"],
            "skopeo": ["skopeo", "inspect", "--raw", f"--authfile={file}", f"docker://{image}:v1"],
            "podman": ["podman", *storage, "search", "--list-tags", f"--authfile={file}", image],
            "lading": [PROGRAM.with_name("lading"), "manifest", f"{image}:v1"],
        }
        done = run(commands[client], environment=environment, timeout=120)
    assert ("v1" if client == "podman" else "schemaVersion") in done.stdout
    assert amazon.made == ["token-0"]
