"""What deploy/ ships fits what Lading is: settings that load, files that are there, units systemd takes, values used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import lading
from lading.config.load import load
from lading.errors import ConfigurationError
from tests.support.packages import program
from tests.support.process import run

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose/compose.yml"
CHART = DEPLOY / "helm/lading"
FILLED_IN = {"POSTGRES_PASSWORD": "first", "S3_USER": "second", "S3_PASSWORD": "third-one"}
TEMPLATES = {path.name: path.read_text() for path in sorted((CHART / "templates").iterdir())}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
FREE = {"config", "resources", "podSecurityContext", "containerSecurityContext"}
"""Values handed on as they are, whose keys are not the chart's."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as docker-compose understands them, variables filled in."""
    words: list[str | Path] = [program("docker-compose"), "--file", COMPOSE, "config"]
    services: dict[str, Any] = yaml.safe_load(run(words, environment=FILLED_IN, directory=COMPOSE.parent).stdout)[
        "services"
    ]
    return services


def test_compose_wants_every_password() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert asked == set(FILLED_IN)
    example = (COMPOSE.parent / "example.env").read_text()
    assert {name for name in asked if f"\n{name}=\n" in f"\n{example}"} == asked
    words: list[str | Path] = [program("docker-compose"), "--file", COMPOSE, "config"]
    given = {**FILLED_IN, "S3_PASSWORD": ""}
    refused = run(words, environment=given, directory=COMPOSE.parent, check=False)
    assert refused.returncode != 0
    assert "S3_PASSWORD" in refused.stderr


def problems(variables: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong when the image is given these."""
    try:
        load(DEPLOY / "container/config.yml", variables)
    except ConfigurationError as error:
        return error.problems
    return ()


def test_compose_configures_the_replicas_alike_and_so_that_it_loads(services: dict[str, Any]) -> None:
    replicas = [services["lading-1"], services["lading-2"]]
    assert replicas[0]["environment"] == replicas[1]["environment"] == services["migrate"]["environment"]
    given = {name: str(value) for name, value in replicas[0]["environment"].items()}
    assert {name for name in given if not name.startswith("REGISTRY_")} == set()
    # nothing is wrong with it but what this version does not have yet
    assert [line for line in problems(given) if "with a later version of Lading" not in line] == []
    assert all(replica["read_only"] and replica["cap_drop"] == ["ALL"] for replica in replicas)


def test_compose_mounts_what_is_there_and_asks_who_is_there(services: dict[str, Any]) -> None:
    assert len(services["nginx"]["volumes"]) == 2
    for volume in services["nginx"]["volumes"]:
        source = volume["source"] if isinstance(volume, dict) else str(volume).split(":")[0]
        assert Path(COMPOSE.parent, source).is_file()
    asked = re.findall(r"server ([\w-]+):5000", (COMPOSE.parent / "upstream.conf").read_text())
    assert asked == [name for name in services if re.fullmatch(r"lading-\d+", name)]
    images = [service["image"] for service in services.values() if service["image"] != "lading"]
    assert all(re.search(r":[^:/]*\d", image) for image in images), "a version is named"


def test_the_image_is_configured_as_it_says() -> None:
    loaded = load(DEPLOY / "container/config.yml", {})
    assert (loaded.http.address, loaded.http.net) == (("", 5000), "tcp")
    assert loaded.root == Path("/var/lib/registry")
    assert loaded.health.storagedriver.enabled


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd/lading.service").read_text()
    unit = tmp_path / "lading.service"
    unit.write_text(text.replace("/opt/lading/.venv/bin/lading", "/bin/true"))
    assert "/bin/true serve" in unit.read_text()
    answer = run([program("systemd-analyze"), "verify", unit])
    assert answer.stderr == ""
    exposure = run([program("systemd-analyze"), "security", "--offline=true", "--threshold=20", unit], check=False)
    assert exposure.returncode == 0, exposure.stdout  # 2.0 of 10; 9.6 without any protection


def test_the_user_and_the_folders_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run([program("systemd-sysusers"), f"--root={tmp_path}", DEPLOY / "systemd/lading.sysusers"])
    assert re.search("^lading:.*:/var/lib/registry:.*nologin$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    dry = run([program("systemd-tmpfiles"), f"--root={tmp_path}", "--create", DEPLOY / "systemd/lading.tmpfiles"])
    assert dry.stderr == ""
    assert (tmp_path / "etc/lading").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "var/lib/registry").stat().st_mode & 0o777 == 0o750


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        path = f"{above}.{name}".lstrip(".")
        if isinstance(value, dict) and value and path not in FREE and name != "annotations":
            yield from leaves(value, path)
        else:
            yield path


def test_the_chart_uses_every_value_and_no_other() -> None:
    known = set(leaves(VALUES))
    used = set(re.findall(r"\.Values\.([\w.]+)", "".join(TEMPLATES.values())))
    unknown = {path for path in used if path not in known and not path.startswith(tuple(f"{name}." for name in FREE))}
    assert unknown == set()
    assert {path for path in known if path not in used} == set()


def test_the_schema_knows_the_values_and_refuses_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    kinds = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}

    def compare(values: Mapping[str, Any], part: Mapping[str, Any], at: str) -> None:
        assert part["additionalProperties"] is False, at
        assert set(part["properties"]) - {"global"} == set(values), at
        for name, value in values.items():
            below = part["properties"][name]
            if "enum" in below:
                assert value in below["enum"]
                continue
            assert kinds[type(value)] in below["type"], f"{at}.{name}"
            if "properties" in below:
                compare(value, below, f"{at}.{name}")
            elif isinstance(value, str) and "pattern" in below:
                assert re.search(below["pattern"], value)

    compare(VALUES, schema, "values")


def test_the_charts_configuration_loads(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(VALUES["config"]))
    image = load(DEPLOY / "container/config.yml", {})
    chart = load(file, {"REGISTRY_HTTP_ADDR": ":5000"})
    assert chart.storage == image.storage
    assert chart.health == image.health


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == lading.__version__


def test_every_template_ends_what_it_begins() -> None:
    for name, text in TEMPLATES.items():
        words = re.findall(r"{{-?\s*(?:/\*)?\s*(\w+)", text)
        begun = sum(words.count(word) for word in ("if", "range", "with", "define"))
        assert begun == words.count("end"), name
    assert "lading.check" in TEMPLATES["secrets.yaml"]


def test_pods_may_nothing() -> None:
    pod, container = VALUES["podSecurityContext"], VALUES["containerSecurityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (True, 65532, {"type": "RuntimeDefault"})
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert (container["readOnlyRootFilesystem"], container["allowPrivilegeEscalation"]) == (True, False)
    for name in ("deployment.yaml", "migrate.yaml"):
        assert ".Values.podSecurityContext" in TEMPLATES[name]
        assert ".Values.containerSecurityContext" in TEMPLATES[name]
