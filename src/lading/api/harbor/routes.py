"""Every operation of Harbor's API v2.0 that is here: one table of method, path, handler, permission and bodies.

What is not here is named in :mod:`lading.api.harbor.absent`, and answered with 501.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from lading.api.harbor import (
    allowlist,
    artifacts,
    audit,
    configure,
    gc,
    health,
    labels,
    ldap,
    members,
    metadata,
    oidc,
    permissions,
    projects,
    quotas,
    registries,
    replication,
    repositories,
    robots,
    search,
    statistics,
    systeminfo,
    trusts,
    usergroups,
    users,
)
from lading.api.harbor.call import Call
from lading.api.harbor.permission import (
    ANYBODY,
    INSIDE,
    KNOWN,
    ONESELF,
    OPEN,
    Permission,
    own,
    project,
    repository,
    seen,
    system,
)
from lading.api.request import Response

Handler = Callable[[Call], Awaitable[Response]]

PAGE = ("page", "page_size")
LIST = (*PAGE, "q", "sort")


@dataclass(frozen=True)
class Route:
    """One operation; ``path`` is below :data:`~lading.api.harbor.call.BASE`.

    ``answer`` and ``body`` are the models of what is sent and taken, None for nothing; ``status`` is that of success;
    ``query`` are the arguments it knows; ``partly`` says what of Harbor's is left out; ``text``: the
    answer is text; ``extra``: an addition to Harbor's.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission
    answer: Any = None
    body: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    partly: str = ""
    text: bool = False
    extra: bool = False


_P = "/projects/{project_name_or_id}"
_R = "/projects/{project_name}/repositories"
_RN = f"{_R}/{{repository_name}}"
_A = f"{_RN}/artifacts"
_AR = f"{_A}/{{reference}}"
_WITH = ("with_tag", "with_label", "with_accessory")
_NO_SCANS = "no scan_overview and sbom_overview, and no pull_time"
_NO_PULLS = "no pull_count"
_NO_CHUNKS = "copy_by_chunk is kept and changes nothing: what breaks goes on at the byte anyway"
_NO_PARAMETERS = "parameters change nothing, and there is no dry run"

ROUTES = (
    Route("GET", "/ping", health.ping, OPEN, text=True),
    Route("GET", "/health", health.health, OPEN, health.Health, partly="other names of components"),
    Route("GET", "/systeminfo", systeminfo.get, ANYBODY, systeminfo.Information),
    Route(
        "GET",
        "/systeminfo/volumes",
        systeminfo.volumes,
        system("system-volumes", "read"),
        systeminfo.Volumes,
        partly="none where blobs are in a bucket",
    ),
    Route("GET", "/search", search.search, ANYBODY, search.Found, query=("q",), partly=_NO_PULLS),
    Route("GET", "/statistics", statistics.get, KNOWN, statistics.Figures),
    Route(
        "GET",
        "/configurations",
        configure.get,
        system("configuration", "read"),
        dict[str, configure.Value],
        partly="only settings that mean something here",
    ),
    Route(
        "PUT",
        "/configurations",
        configure.update,
        system("configuration", "update"),
        body=configure.Values,
        partly="what the configuration file says cannot be changed: 412; no uaa_auth and http_auth",
    ),
    Route("GET", "/permissions", permissions.get, KNOWN, permissions.Pairs),
    Route(
        "GET", "/users", users.index, system("user", "list"), list[users.UserAnswer], query=(*LIST, "username", "email")
    ),
    Route("POST", "/users", users.create, system("user", "create"), body=users.UserNew, status=201),
    Route("GET", "/users/current", users.current, ONESELF, users.UserAnswer),
    Route(
        "GET",
        "/users/current/permissions",
        users.current_permissions,
        KNOWN,
        list[users.Allowed],
        query=("scope", "relative"),
    ),
    Route("GET", "/users/search", users.search, KNOWN, list[users.UserFound], query=(*PAGE, "username")),
    Route("GET", "/users/{user_id}", users.get, own("user", "read"), users.UserAnswer),
    Route("PUT", "/users/{user_id}", users.update, own("user", "update"), body=users.Profile),
    Route("DELETE", "/users/{user_id}", users.delete, system("user", "delete")),
    Route("PUT", "/users/{user_id}/sysadmin", users.set_admin, system("user", "update"), body=users.Administrator),
    Route("PUT", "/users/{user_id}/password", users.set_password, own("user", "update"), body=users.Password),
    Route("PUT", "/users/{user_id}/cli_secret", users.set_cli_secret, own("user", "update"), body=users.CliSecret),
    Route("GET", "/system/CVEAllowlist", allowlist.get, KNOWN, allowlist.AllowlistAnswer),
    Route(
        "PUT",
        "/system/CVEAllowlist",
        allowlist.update,
        system("configuration", "update"),
        body=allowlist.AllowlistGiven,
    ),
    Route("POST", "/system/oidc/ping", oidc.ping, system("configuration", "update"), body=oidc.Ping),
    Route(
        "GET",
        "/usergroups",
        usergroups.index,
        system("user-group", "list"),
        list[usergroups.GroupAnswer],
        query=(*LIST, "group_name", "groupname", "ldap_group_dn"),
    ),
    Route(
        "POST", "/usergroups", usergroups.create, system("user-group", "create"), body=usergroups.GroupGiven, status=201
    ),
    Route(
        "GET", "/usergroups/search", usergroups.search, KNOWN, list[usergroups.GroupAnswer], query=(*PAGE, "groupname")
    ),
    Route("GET", "/usergroups/{group_id}", usergroups.get, system("user-group", "read"), usergroups.GroupAnswer),
    Route(
        "PUT", "/usergroups/{group_id}", usergroups.update, system("user-group", "update"), body=usergroups.GroupGiven
    ),
    Route("DELETE", "/usergroups/{group_id}", usergroups.delete, system("user-group", "delete")),
    Route(
        "GET",
        "/projects",
        projects.index,
        ANYBODY,
        list[projects.ProjectAnswer],
        query=(*LIST, "name", "public", "owner", "with_detail"),
    ),
    Route(
        "HEAD",
        "/projects",
        projects.exists,
        KNOWN,
        query=("project_name",),
        partly="404 for one the caller may not see",
    ),
    Route(
        "POST", "/projects", projects.create, KNOWN, body=projects.ProjectNew, status=201, partly="no proxy projects"
    ),
    Route("GET", _P, projects.get, project("project", "read"), projects.ProjectAnswer),
    Route("PUT", _P, projects.update, project("project", "update"), body=projects.ProjectNew),
    Route("DELETE", _P, projects.delete, project("project", "delete")),
    Route("GET", f"{_P}/_deletable", projects.deletable, project("project", "delete"), projects.Deletable),
    Route("GET", f"{_P}/summary", projects.summary, project("project", "read"), projects.Summary),
    Route("GET", f"{_P}/metadatas", metadata.index, project("metadata", "list"), metadata.Values),
    Route("POST", f"{_P}/metadatas", metadata.add, project("metadata", "create"), body=metadata.Values),
    Route("GET", f"{_P}/metadatas/{{meta_name}}", metadata.get, project("metadata", "read"), metadata.Values),
    Route("PUT", f"{_P}/metadatas/{{meta_name}}", metadata.update, project("metadata", "update"), body=metadata.Values),
    Route("DELETE", f"{_P}/metadatas/{{meta_name}}", metadata.delete, project("metadata", "delete")),
    Route(
        "GET",
        f"{_P}/members",
        members.index,
        project("member", "list"),
        list[members.MemberAnswer],
        query=(*PAGE, "entityname"),
    ),
    Route("POST", f"{_P}/members", members.create, project("member", "create"), body=members.MemberNew, status=201),
    Route("GET", f"{_P}/members/{{mid}}", members.get, project("member", "read"), members.MemberAnswer),
    Route("PUT", f"{_P}/members/{{mid}}", members.update, project("member", "update"), body=members.Role),
    Route("DELETE", f"{_P}/members/{{mid}}", members.delete, project("member", "delete")),
    Route(
        "GET",
        "/projects/{project_name}/logs",
        audit.of_project,
        project("log", "list"),
        list[audit.LogAnswer],
        query=LIST,
    ),
    Route(
        "GET",
        "/projects/{project_name}/auditlog-exts",
        audit.of_project_more,
        project("log", "list"),
        list[audit.LogMore],
        query=LIST,
    ),
    Route("GET", "/audit-logs", audit.index, KNOWN, list[audit.LogAnswer], query=LIST),
    Route("GET", "/auditlog-exts", audit.index_more, KNOWN, list[audit.LogMore], query=LIST),
    Route("GET", "/auditlog-exts/events", audit.events, system("audit-log", "list"), list[audit.Event]),
    Route(
        "GET",
        "/repositories",
        repositories.every,
        ANYBODY,
        list[repositories.RepositoryAnswer],
        query=LIST,
        partly=_NO_PULLS,
    ),
    Route(
        "GET",
        _R,
        repositories.index,
        seen("repository", "list"),
        list[repositories.RepositoryAnswer],
        query=LIST,
        partly=_NO_PULLS,
    ),
    Route(
        "GET", _RN, repositories.get, repository("repository", "read"), repositories.RepositoryAnswer, partly=_NO_PULLS
    ),
    Route("PUT", _RN, repositories.update, repository("repository", "update"), body=repositories.RepositoryGiven),
    Route("DELETE", _RN, repositories.delete, repository("repository", "delete")),
    Route(
        "GET",
        _A,
        artifacts.index,
        repository("artifact", "list"),
        list[artifacts.ArtifactAnswer],
        query=(*LIST, *_WITH),
        partly=f"{_NO_SCANS}; extra_attrs with a single artifact alone",
    ),
    Route(
        "GET",
        f"{_P}/artifacts",
        artifacts.of_project,
        project("artifact", "list"),
        list[artifacts.ArtifactAnswer],
        query=(*LIST, *_WITH),
        partly=f"{_NO_SCANS}; no latest_in_repository",
    ),
    Route("POST", _A, artifacts.copy, repository("artifact", "create"), status=201, query=("from",)),
    Route(
        "GET",
        _AR,
        artifacts.get,
        repository("artifact", "read"),
        artifacts.ArtifactAnswer,
        query=_WITH,
        partly=_NO_SCANS,
    ),
    Route("DELETE", _AR, artifacts.delete, repository("artifact", "delete")),
    Route(
        "GET",
        f"{_AR}/tags",
        artifacts.tags,
        repository("tag", "list"),
        list[artifacts.TagAnswer],
        query=LIST,
        partly="tags have no id and no pull_time",
    ),
    Route("POST", f"{_AR}/tags", artifacts.add_tag, repository("tag", "create"), body=artifacts.TagGiven, status=201),
    Route("DELETE", f"{_AR}/tags/{{tag_name}}", artifacts.delete_tag, repository("tag", "delete")),
    Route(
        "GET",
        f"{_AR}/accessories",
        artifacts.accessories,
        repository("accessory", "list"),
        list[artifacts.AccessoryAnswer],
        query=LIST,
        partly="those with a subject; none that is known by its tag",
    ),
    Route(
        "GET",
        f"{_AR}/additions/{{addition}}",
        artifacts.addition,
        repository("artifact-addition", "read"),
        list[dict[str, Any]],
        partly="build_history alone",
    ),
    Route(
        "POST", f"{_AR}/labels", artifacts.add_label, repository("artifact-label", "create"), body=artifacts.LabelGiven
    ),
    Route("DELETE", f"{_AR}/labels/{{label_id}}", artifacts.delete_label, repository("artifact-label", "delete")),
    Route(
        "GET",
        "/labels",
        labels.index,
        KNOWN,
        list[labels.LabelAnswer],
        query=(*LIST, "name", "scope", "project_id"),
    ),
    Route("POST", "/labels", labels.create, INSIDE, body=labels.LabelGiven, status=201),
    Route("GET", "/labels/{label_id}", labels.get, INSIDE, labels.LabelAnswer),
    Route("PUT", "/labels/{label_id}", labels.update, INSIDE, body=labels.LabelGiven),
    Route("DELETE", "/labels/{label_id}", labels.delete, INSIDE),
    Route("GET", "/robots", robots.index, INSIDE, list[robots.RobotAnswer], query=LIST),
    Route("POST", "/robots", robots.create, INSIDE, robots.RobotMade, body=robots.RobotGiven, status=201),
    Route("GET", "/robots/{robot_id}", robots.get, INSIDE, robots.RobotAnswer),
    Route("PUT", "/robots/{robot_id}", robots.update, INSIDE, body=robots.RobotGiven),
    Route("PATCH", "/robots/{robot_id}", robots.refresh, INSIDE, robots.Secret, body=robots.Secret),
    Route("DELETE", "/robots/{robot_id}", robots.delete, INSIDE),
    Route("GET", "/robots/{robot_id}/trusts", trusts.index, INSIDE, list[trusts.TrustAnswer], extra=True),
    Route(
        "POST",
        "/robots/{robot_id}/trusts",
        trusts.create,
        INSIDE,
        trusts.TrustAnswer,
        body=trusts.TrustGiven,
        status=201,
        extra=True,
    ),
    Route("DELETE", "/robots/{robot_id}/trusts/{trust_id}", trusts.delete, INSIDE, extra=True),
    Route("GET", "/replication/adapters", registries.adapters, system("replication-adapter", "list"), list[str]),
    Route(
        "GET",
        "/replication/adapterinfos",
        registries.adapter_infos,
        system("replication-adapter", "list"),
        dict[str, Any],
    ),
    Route(
        "GET",
        "/registries",
        registries.index,
        system("registry", "list"),
        list[registries.RegistryAnswer],
        query=(*LIST, "name"),
    ),
    Route(
        "POST", "/registries", registries.create, system("registry", "create"), body=registries.RegistryNew, status=201
    ),
    Route("POST", "/registries/ping", registries.ping, system("registry", "read"), body=registries.RegistryTry),
    Route("GET", "/registries/{id}", registries.get, system("registry", "read"), registries.RegistryAnswer),
    Route("PUT", "/registries/{id}", registries.update, system("registry", "update"), body=registries.RegistryChange),
    Route("DELETE", "/registries/{id}", registries.delete, system("registry", "delete")),
    Route("GET", "/registries/{id}/info", registries.info, system("registry", "read"), registries.RegistryInfo),
    Route(
        "GET",
        "/replication/policies",
        replication.policies,
        system("replication-policy", "list"),
        list[replication.PolicyAnswer],
        query=(*LIST, "name"),
    ),
    Route(
        "POST",
        "/replication/policies",
        replication.create_policy,
        system("replication-policy", "create"),
        body=replication.PolicyGiven,
        status=201,
        partly=_NO_CHUNKS,
    ),
    Route(
        "GET",
        "/replication/policies/{id}",
        replication.get_policy,
        system("replication-policy", "read"),
        replication.PolicyAnswer,
    ),
    Route(
        "PUT",
        "/replication/policies/{id}",
        replication.update_policy,
        system("replication-policy", "update"),
        body=replication.PolicyGiven,
        partly=_NO_CHUNKS,
    ),
    Route("DELETE", "/replication/policies/{id}", replication.delete_policy, system("replication-policy", "delete")),
    Route(
        "GET",
        "/replication/executions",
        replication.executions,
        system("replication", "list"),
        list[replication.ExecutionAnswer],
        query=(*LIST, "policy_id", "status", "trigger"),
    ),
    Route(
        "POST",
        "/replication/executions",
        replication.start,
        system("replication", "create"),
        body=replication.Start,
        status=201,
    ),
    Route(
        "GET",
        "/replication/executions/{id}",
        replication.get_execution,
        system("replication", "read"),
        replication.ExecutionAnswer,
    ),
    Route("PUT", "/replication/executions/{id}", replication.stop, system("replication", "create")),
    Route(
        "GET",
        "/replication/executions/{id}/tasks",
        replication.tasks,
        system("replication", "list"),
        list[replication.TaskAnswer],
        query=(*LIST, "status", "resource_type"),
    ),
    Route(
        "GET",
        "/replication/executions/{id}/tasks/{task_id}/log",
        replication.log,
        system("replication", "read"),
        text=True,
    ),
    Route(
        "GET",
        "/quotas",
        quotas.index,
        system("quota", "list"),
        list[quotas.QuotaAnswer],
        query=(*PAGE, "sort", "reference", "reference_id"),
    ),
    Route("POST", "/ldap/ping", ldap.ping, system("configuration", "update"), ldap.Outcome, body=ldap.Given),
    Route(
        "GET",
        "/ldap/users/search",
        ldap.users,
        system("ldap-user", "list"),
        list[ldap.PersonFound],
        query=("username",),
    ),
    Route("POST", "/ldap/users/import", ldap.bring, system("ldap-user", "create"), body=ldap.Names),
    Route(
        "GET",
        "/ldap/groups/search",
        ldap.groups,
        system("ldap-user", "list"),
        list[usergroups.GroupAnswer],
        query=("groupname", "groupdn"),
    ),
    Route("GET", "/system/gc", gc.index, system("garbage-collection", "list"), list[gc.Run], query=LIST),
    Route("GET", "/system/gc/schedule", gc.schedule, system("garbage-collection", "read"), gc.Planned),
    Route(
        "POST",
        "/system/gc/schedule",
        gc.create,
        system("garbage-collection", "create"),
        body=gc.Schedule,
        status=201,
        partly=_NO_PARAMETERS,
    ),
    Route(
        "PUT",
        "/system/gc/schedule",
        gc.update,
        system("garbage-collection", "update"),
        body=gc.Schedule,
        partly=_NO_PARAMETERS,
    ),
    Route("GET", "/system/gc/{gc_id}", gc.get, system("garbage-collection", "read"), gc.Run),
    Route("PUT", "/system/gc/{gc_id}", gc.stop, system("garbage-collection", "stop")),
    Route("GET", "/system/gc/{gc_id}/log", gc.log, system("garbage-collection", "read"), text=True),
    Route("GET", "/quotas/{id}", quotas.get, system("quota", "read"), quotas.QuotaAnswer),
    Route("PUT", "/quotas/{id}", quotas.update, system("quota", "update"), body=quotas.QuotaGiven),
)
