"""What clients do: ``harborapi`` drives every area of the API that is here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from harborapi import HarborAsyncClient
from harborapi.exceptions import BadRequest, Conflict, Forbidden, NotFound, StatusError, Unauthorized
from harborapi.models import (
    Access,
    Configurations,
    CVEAllowlist,
    CVEAllowlistItem,
    Label,
    ProjectMetadata,
    ProjectReq,
    QuotaUpdateReq,
    RegistryCredential,
    RegistryPing,
    RegistryUpdate,
    ReplicationFilter,
    ReplicationPolicy,
    ReplicationTrigger,
    Repository,
    ResourceList,
    Robot,
    RobotCreate,
    RobotPermission,
    Schedule,
    ScheduleObj,
    Tag,
    UserCreationReq,
    UserGroup,
    UserProfile,
)
from harborapi.models.models import Registry as HarborRegistry
from harborapi.models.models import Type

from tests.integration.harbor.conftest import ADMIN, API, PASSWORD
from tests.support.directory import GROUPS, PEOPLE, SEARCHER, SEARCHERS_WORD, WORD, Slapd
from tests.support.http import Client
from tests.support.images import image, index
from tests.support.lading import Lading

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("registry", ["sqlite", "postgresql"], indirect=True, scope="module"),
]


As = Callable[..., HarborAsyncClient]


@pytest.fixture
async def client(registry: Lading) -> AsyncIterator[As]:
    """``client("name", "password")`` speaks for somebody."""
    opened = []

    def make(name: str = ADMIN, password: str = PASSWORD) -> HarborAsyncClient:
        opened.append(HarborAsyncClient(url=registry.url + API, username=name, secret=password, retry=None, timeout=30))
        return opened[-1]

    yield make
    for each in opened:
        await each.client.aclose()


@pytest.fixture
def harbor(client: As) -> HarborAsyncClient:
    return client()


async def test_what_kind_of_registry_it_is(harbor: HarborAsyncClient, registry: Lading) -> None:
    assert await harbor.ping() == "Pong"
    assert (await harbor.health_check()).status == "healthy"
    told = await harbor.get_system_info()
    assert told.auth_mode == "db_auth"
    assert (told.harbor_version or "").startswith("v2.")
    assert f"http://{told.registry_url}" == registry.url
    assert (await harbor.get_statistics()).total_project_count
    assert {each.resource for each in (await harbor.get_permissions()).project or []} >= {"repository", "robot"}


async def test_users(harbor: HarborAsyncClient, client: As) -> None:
    location = await harbor.create_user(
        UserCreationReq(username="ada", password=PASSWORD, email="ada@example.org", realname="Ada")
    )
    number = int(location.rpartition("/")[2])
    assert location == f"/api/v2.0/users/{number}"
    with pytest.raises(Conflict):
        await harbor.create_user(UserCreationReq(username="ada", password=PASSWORD, email="x@example.org"))
    assert [user.username for user in await harbor.get_users(query="username=~AD", sort="-username")] == [ADMIN, "ada"]
    assert [user.username for user in await harbor.search_users_by_username("ada")] == ["ada"]
    await harbor.update_user(number, UserProfile(email="a@example.org", realname="Ada L", comment="first"))
    assert (await harbor.get_user(number)).realname == "Ada L"
    own = client("ada")
    assert (await own.get_current_user()).user_id == number
    with pytest.raises(Forbidden):
        await own.get_users()
    with pytest.raises(Forbidden):
        await own.set_user_password(number, "Other-Word-2", "wrong")
    await harbor.set_user_admin(number, is_admin=True)
    assert (await own.get_current_user()).sysadmin_flag is True
    await harbor.set_user_password(number, "Other-Word-2")
    with pytest.raises(Unauthorized):
        await own.get_current_user()
    await harbor.delete_user(number)
    with pytest.raises(NotFound):
        await harbor.get_user(number)


async def test_groups(harbor: HarborAsyncClient) -> None:
    location = await harbor.create_usergroup(
        UserGroup(group_name="staff", group_type=1, ldap_group_dn="cn=staff,dc=example,dc=org")
    )
    number = int(location.rpartition("/")[2])
    found = await harbor.get_usergroup(number)
    assert (found.group_name, found.group_type, found.ldap_group_dn) == ("staff", 1, "cn=staff,dc=example,dc=org")
    await harbor.update_usergroup(number, UserGroup(group_name="crew", group_type=1))
    assert [group.group_name for group in await harbor.search_usergroups("cre")] == ["crew"]
    assert [group.group_name for group in await harbor.get_usergroups()] == ["crew"]
    await harbor.delete_usergroup(number)
    assert await harbor.get_usergroups() == []


async def test_projects(harbor: HarborAsyncClient) -> None:
    location = await harbor.create_project(
        ProjectReq(project_name="42", metadata=ProjectMetadata(public="true", auto_scan="true"), storage_limit=10**9)
    )
    assert location == "/api/v2.0/projects/42"  # this client asks for the name in it
    by_name = await harbor.get_project("42")
    number = by_name.project_id or 0
    assert number != 42
    assert by_name.metadata is not None
    assert (by_name.metadata.public, by_name.metadata.auto_scan) == ("true", "true")
    assert (await harbor.get_project(number)).name == "42"
    assert await harbor.project_exists("42")
    assert not await harbor.project_exists("43")
    await harbor.update_project("42", ProjectReq(metadata=ProjectMetadata(public="false", severity="High")))
    changed = await harbor.get_project_metadata("42")
    assert (changed.public, changed.severity) == ("false", "high")
    await harbor.delete_project_metadata_entry("42", "severity")
    await harbor.set_project_metadata("42", ProjectMetadata(prevent_vul="true"))
    await harbor.update_project_metadata_entry(number, "prevent_vul", {"prevent_vul": "false"})
    assert (await harbor.get_project_metadata_entry(number, "prevent_vul"))["prevent_vul"] == "false"
    assert [one.name for one in await harbor.get_projects(query="name={42 43}", public=False)] == ["42"]
    quota = (await harbor.get_quotas(reference="project", reference_id=str(number)))[0]
    assert quota.hard is not None
    assert quota.hard.root == {"storage": 10**9}
    await harbor.update_quota(number, QuotaUpdateReq(hard=ResourceList({"storage": -1})))
    assert (await harbor.get_project_summary("42")).quota
    assert (await harbor.get_project_deletable("42")).deletable
    await harbor.delete_project("42")
    with pytest.raises(NotFound):
        await harbor.get_project("42")


async def test_members(harbor: HarborAsyncClient, client: As) -> None:
    await harbor.create_project(ProjectReq(project_name="crewed"))
    user = int((await harbor.create_user(UserCreationReq(username="bo", password=PASSWORD))).rpartition("/")[2])
    own = client("bo")
    with pytest.raises(Forbidden):
        await own.get_project("crewed")
    await harbor.add_project_member_user("crewed", "bo", 3)
    with pytest.raises(Conflict):
        await harbor.add_project_member_user("crewed", user, 3)
    found = await own.get_project_members("crewed", entity_name="bo")
    assert [(one.entity_name, one.role_name) for one in found] == [("bo", "guest")]
    assert found[0].id is not None
    await harbor.update_project_member_role("crewed", found[0].id, 4)
    assert (await own.get_project_member("crewed", found[0].id)).role_name == "maintainer"
    with pytest.raises(Forbidden):
        await own.update_project_member_role("crewed", found[0].id, 1)
    assert (await own.get_project("crewed")).current_user_role_id == 4
    await harbor.remove_project_member("crewed", found[0].id)
    with pytest.raises(Forbidden):
        await own.get_project("crewed")


async def test_repositories_and_artifacts(harbor: HarborAsyncClient, registry: Lading) -> None:
    await harbor.create_project(ProjectReq(project_name="art", metadata=ProjectMetadata(public="true")))
    await harbor.create_project(ProjectReq(project_name="copies"))
    with Client(registry, auth=(ADMIN, PASSWORD)) as pusher:
        one = image("one")
        pusher.push("art/deep/app", one, "v1")
        many = index([image("a"), image("b", platform="linux/arm64")])
        pusher.push("art/deep/app", many, "multi")
        pusher.push("art/other", image("other"), "latest")
        described = {"mediaType": one.manifest.media_type, "digest": one.digest, "size": one.manifest.size}
        signature = image("signature", subject=described)
        pusher.push("art/deep/app", signature)
    names = [each.name for each in await harbor.get_repositories("art", sort="-name")]
    assert names == ["art/other", "art/deep/app"]
    assert {each.name for each in await harbor.get_repositories()} >= set(names)
    await harbor.update_repository("art", "deep/app", Repository(description="what it is"))
    repository = await harbor.get_repository("art", "deep/app")
    assert (repository.description, repository.artifact_count) == ("what it is", 2)
    found = await harbor.get_artifacts("art", "deep/app", with_label=True, with_accessory=True)
    assert {tag.name for each in found for tag in each.tags or []} == {"v1", "multi"}
    assert [each.digest for each in await harbor.get_artifacts("art", "deep/app", query="tags=v1")] == [one.digest]
    assert await harbor.get_artifacts("art", "deep/app", query="tags=nil") == []
    single = await harbor.get_artifact("art", "deep/app", "v1", with_accessory=True)
    assert single.size == one.manifest.size + sum(blob.size for blob in one.blobs)
    assert single.extra_attrs is not None
    assert (single.extra_attrs.root or {})["architecture"] == "amd64"
    assert [each.digest for each in single.accessories or []] == [signature.digest]
    multi = await harbor.get_artifact("art", "deep/app", "multi")
    assert {each.platform.architecture for each in multi.references or [] if each.platform} == {"amd64", "arm64"}
    assert (multi.size or 0) > many.manifest.size
    await harbor.create_artifact_tag("art", "deep/app", one.digest, Tag(name="stable"))
    with pytest.raises(Conflict):
        await harbor.create_artifact_tag("art", "deep/app", "multi", Tag(name="stable"))
    assert [tag.name for tag in await harbor.get_artifact_tags("art", "deep/app", "v1")] == ["stable", "v1"]
    await harbor.delete_artifact_tag("art", "deep/app", "v1", "stable")
    await harbor.copy_artifact("copies", "taken/app", "art/deep/app:multi")
    copied = await harbor.get_artifact("copies", "taken/app", "multi")
    assert copied.digest == many.digest
    await harbor.get_artifact_build_history("art", "deep/app", "v1")
    with pytest.raises(StatusError) as refused:
        await harbor.delete_project("art")
    assert refused.value.status_code == 412
    hits = await harbor.search("deep")
    assert [each.repository_name for each in hits.repository or []] == ["art/deep/app"]
    await harbor.delete_artifact("art", "deep/app", "v1")
    await harbor.delete_repository("art", "deep/app")
    await harbor.delete_repository("art", "other")
    with pytest.raises(NotFound):
        await harbor.get_repository("art", "deep/app")
    await harbor.delete_project("art")
    told = await harbor.get_audit_logs(query="operation=delete,resource_type=repository")
    assert {each.resource for each in told} >= {"art/deep/app", "art/other"}


async def test_labels(harbor: HarborAsyncClient, registry: Lading) -> None:
    await harbor.create_project(ProjectReq(project_name="marked"))
    project = (await harbor.get_project("marked")).project_id
    with Client(registry, auth=(ADMIN, PASSWORD)) as pusher:
        pusher.push("marked/app", image("marked"), "v1")
    everywhere = await harbor.create_label(Label(name="good", color="#00FF00", scope="g"))
    await harbor.create_label(Label(name="local", scope="p", project_id=project))
    number = int(everywhere.rpartition("/")[2])
    with pytest.raises(Conflict):
        await harbor.create_label(Label(name="good", scope="g"))
    await harbor.update_label(number, Label(name="better", color="#0F0"))
    assert [each.name for each in await harbor.get_labels(scope="g")] == ["better"]
    assert [each.name for each in await harbor.get_labels(scope="p", project_id=project)] == ["local"]
    await harbor.add_artifact_label("marked", "app", "v1", Label(id=number))
    found = await harbor.get_artifacts("marked", "app", query=f"labels=({number})", with_label=True)
    assert [label.name for each in found for label in each.labels or []] == ["better"]
    await harbor.delete_artifact_label("marked", "app", "v1", number)
    await harbor.add_artifact_label("marked", "app", "v1", Label(id=number))
    await harbor.delete_label(number)
    assert (await harbor.get_artifact("marked", "app", "v1", with_label=True)).labels in (None, [])


async def test_robots(harbor: HarborAsyncClient, client: As) -> None:
    await harbor.create_project(ProjectReq(project_name="automated"))
    project = (await harbor.get_project("automated")).project_id
    pull = [Access(resource="repository", action="pull"), Access(resource="robot", action="create")]
    made = await harbor.create_robot(
        RobotCreate(
            name="ci",
            level="project",
            duration=7,
            permissions=[RobotPermission(kind="project", namespace="automated", access=pull)],
        )
    )
    assert made.name == "robot$automated+ci"
    assert made.id is not None
    own = client(made.name, made.secret or "")
    more = [*pull, Access(resource="repository", action="push")]
    with pytest.raises(Forbidden):
        await own.create_robot(
            RobotCreate(
                name="greedy",
                level="project",
                duration=-1,
                permissions=[RobotPermission(kind="project", namespace="automated", access=more)],
            )
        )
    assert [robot.name for robot in await harbor.get_robots(query=f"Level=project,ProjectID={project}")] == [made.name]
    robot = await harbor.get_robot(made.id)
    assert robot.permissions is not None
    assert {access.action for place in robot.permissions for access in place.access or []} == {"pull", "create"}
    await harbor.update_robot(
        made.id,
        Robot(name=robot.name, level="project", duration=-1, disable=True, permissions=robot.permissions),
    )
    with pytest.raises(Unauthorized):
        await own.get_project("automated")
    assert (await harbor.get_robot(made.id)).expires_at == -1
    fresh = await harbor.refresh_robot_secret(made.id, "Chosen-Secret-1")
    assert not fresh.secret
    assert (await harbor.refresh_robot_secret(made.id, "")).secret
    with pytest.raises(BadRequest):
        await harbor.refresh_robot_secret(made.id, "weak")
    system = await harbor.create_robot(
        RobotCreate(
            name="everywhere",
            level="system",
            duration=-1,
            permissions=[
                RobotPermission(kind="system", namespace="/", access=[Access(resource="project", action="list")]),
                RobotPermission(kind="project", namespace="*", access=pull),
            ],
        )
    )
    assert system.name == "robot$everywhere"
    lister = client(system.name, system.secret or "")
    assert "automated" in {each.name for each in await lister.get_projects()}
    with pytest.raises(StatusError) as refused:
        await lister.get_current_user()
    assert refused.value.status_code == 412
    await harbor.delete_robot(made.id)
    with pytest.raises(NotFound):
        await harbor.get_robot(made.id)


async def test_configuration(harbor: HarborAsyncClient, client: As) -> None:
    present = await harbor.get_config()
    assert present.robot_token_duration is not None
    assert present.robot_token_duration.value == 30
    await harbor.update_config(Configurations(project_creation_restriction="adminonly", robot_token_duration=5))
    await harbor.create_user(UserCreationReq(username="cy", password=PASSWORD))
    with pytest.raises(Forbidden):
        await client("cy").create_project(ProjectReq(project_name="mine"))
    await harbor.update_config(Configurations(project_creation_restriction="everyone", robot_token_duration=30))
    await client("cy").create_project(ProjectReq(project_name="mine"))
    with pytest.raises(StatusError) as refused:
        await harbor.update_config(Configurations(self_registration=True))
    assert refused.value.status_code == 412


async def test_garbage_collection(harbor: HarborAsyncClient) -> None:
    location = await harbor.create_gc_schedule(Schedule(schedule=ScheduleObj(type=Type("Manual"))))
    number = int(location.rpartition("/")[2])
    run = await harbor.get_gc_job(number)
    for _ in range(200):
        if run.job_status not in ("Pending", "Running"):
            break
        await anyio.sleep(0.1)
        run = await harbor.get_gc_job(number)
    assert (run.job_status, run.job_kind) == ("Success", "MANUAL")
    assert number in {each.id for each in await harbor.get_gc_jobs()}
    assert any("blobs deleted" in line for line in await harbor.get_gc_log(number))
    assert (await harbor.get_gc_schedule()).schedule is None
    await harbor.update_gc_schedule(Schedule(schedule=ScheduleObj(type=Type("Custom"), cron="0 30 2 * * *")))
    planned = (await harbor.get_gc_schedule()).schedule
    assert planned is not None
    assert (planned.type, planned.cron) == (Type.custom, "0 30 2 * * *")
    with pytest.raises(BadRequest):
        await harbor.update_gc_schedule(Schedule(schedule=ScheduleObj(type=Type("Custom"), cron="*/5 * * * * *")))
    await harbor.update_gc_schedule(Schedule(schedule=ScheduleObj(type=Type("None"))))
    assert (await harbor.get_gc_schedule()).schedule is None


async def test_a_directory(harbor: HarborAsyncClient, client: As, slapd: Slapd) -> None:
    told = Configurations(
        auth_mode="ldap_auth",
        ldap_url=slapd.url,
        ldap_search_dn=SEARCHER,
        ldap_search_password=SEARCHERS_WORD,
        ldap_base_dn=PEOPLE,
        ldap_uid="uid",
        ldap_group_base_dn=GROUPS,
    )
    await harbor.update_config(told)
    try:
        assert (await harbor.ping_ldap()).success
        assert [one.username for one in await harbor.search_ldap_users("bo")] == ["bob"]
        (staff,) = await harbor.search_ldap_groups(group_name="taf")
        assert staff.ldap_group_dn == f"cn=staff,{GROUPS}"
        await harbor.import_ldap_users(["bob"])
        assert [one.username for one in await harbor.search_users_by_username("bob")] == ["bob"]
        with pytest.raises(StatusError):
            await harbor.import_ldap_users(["nobody-at-all"])
        assert await client("alice", WORD.format(name="alice")).get_current_user_permissions(None) is not None
    finally:
        await harbor.update_config(Configurations(auth_mode="db_auth"))


async def test_what_is_kept_of_the_log_and_what_does_not_count(harbor: HarborAsyncClient) -> None:
    parameters = {"audit_retention_hour": 24, "dry_run": True, "include_event_types": "pull_artifact"}
    location = await harbor.create_purge_job_schedule(
        Schedule(schedule=ScheduleObj(type=Type("Manual")), parameters=parameters)
    )
    assert (await harbor.get_purge_job(int(location.rpartition("/")[2]))).job_name == "PURGE_AUDIT_LOG"
    for when in (ScheduleObj(type=Type("Custom"), cron="0 30 2 * * *"), ScheduleObj(type=Type("None"))):
        await harbor.update_purge_job_schedule(Schedule(schedule=when, parameters=parameters))
        planned = (await harbor.get_purge_job_schedule()).schedule
        assert (planned.cron if planned else None) == when.cron
    assert not (await harbor.get_cve_allowlist()).items
    await harbor.update_cve_allowlist(CVEAllowlist(items=[CVEAllowlistItem(cve_id="CVE-2024-3094")]))
    assert [one.cve_id for one in (await harbor.get_cve_allowlist()).items or []] == ["CVE-2024-3094"]


async def test_pages(harbor: HarborAsyncClient) -> None:
    for number in range(25):
        await harbor.create_label(Label(name=f"n{number:02}", scope="g"))
    found = await harbor.get_labels(scope="g", query="name=~n", page_size=10)
    assert [each.name for each in found] == [f"n{number:02}" for number in range(25)]


async def test_replication(harbor: HarborAsyncClient, registry: Lading) -> None:
    login = RegistryCredential(type="basic", access_key=ADMIN, access_secret=PASSWORD)
    wanted = HarborRegistry(name="itself", url=registry.url, type="harbor", credential=login, insecure=False)
    endpoint = int((await harbor.create_registry(wanted)).rpartition("/")[2])
    (found,) = await harbor.get_registries(query="name=itself")
    assert (found.id, found.status, found.url) == (endpoint, "healthy", registry.url)
    assert found.credential is not None
    assert found.credential.access_secret != PASSWORD
    await harbor.check_registry_status(RegistryPing(id=endpoint))
    assert {one.type for one in (await harbor.get_registry_info(endpoint)).supported_resource_filters or ()} >= {"name"}
    assert "harbor" in await harbor.get_registry_adapters()
    assert await harbor.get_registry_providers() is not None
    await harbor.update_registry(endpoint, RegistryUpdate(description="this one"))
    assert (await harbor.get_registry(endpoint)).description == "this one"

    with Client(registry, auth=(ADMIN, PASSWORD)) as pusher:
        pusher.push("library/replicated", image("replicated"), "v1")
    policy = ReplicationPolicy(
        name="to itself",
        dest_registry=HarborRegistry(id=endpoint),
        dest_namespace="copies",
        dest_namespace_replace_count=1,
        trigger=ReplicationTrigger(type="manual"),
        filters=[ReplicationFilter(type="name", value="library/replicated")],
        enabled=True,
    )
    number = int((await harbor.create_replication_policy(policy)).rpartition("/")[2])
    kept = await harbor.get_replication_policy(number)
    assert (kept.dest_registry and kept.dest_registry.id, kept.src_registry and kept.src_registry.id) == (endpoint, 0)
    policy.description = "changed"
    await harbor.update_replication_policy(number, policy)
    assert [one.description for one in await harbor.get_replication_policies()] == ["changed"]
    begun = int((await harbor.start_replication(number)).rpartition("/")[2])
    with anyio.fail_after(60):
        while (execution := await harbor.get_replication(begun)).status == "InProgress":  # noqa: ASYNC110
            await anyio.sleep(0.1)
    assert (execution.status, execution.succeed) == ("Succeed", 1)
    (task,) = await harbor.get_replication_tasks(begun)
    assert (task.status, task.dst_resource) == ("Succeed", "copies/replicated")
    assert "v1 was brought" in await harbor.get_replication_task_log(begun, task.id or 0)
    assert [one.id for one in await harbor.get_replications(policy_id=number)] == [begun]
    assert (await harbor.get_artifact("copies", "replicated", "v1")).digest == image("replicated").digest
    await harbor.stop_replication(begun)
    await harbor.delete_replication_policy(number)
    await harbor.delete_registry(endpoint)


async def test_what_is_not_here_says_so(harbor: HarborAsyncClient) -> None:
    with pytest.raises(StatusError) as refused:
        await harbor.get_scanners()
    assert refused.value.status_code == 501
