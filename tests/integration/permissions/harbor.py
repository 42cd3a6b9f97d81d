"""What Harbor lets whom do: its table of roles, and what it asks for each operation, written down apart from our own.

The table is that of Harbor 2.16 (``rbac_role.go``; its last column is what anybody may in a public project), the needs
are those its handlers ask for. Letters: Create Read Update Delete List Operate Stop, ``<`` pull, ``>`` push.
"""

from __future__ import annotations

from collections.abc import Mapping

Held = Mapping[str, str]
"""Resource → the letters of what may be done with it."""

ROLES = ("projectAdmin", "maintainer", "developer", "guest", "limitedGuest")

_TABLE = """
project              RUD      R        R        R    R    R
member               CRUDL    RL       RL       RL   -    -
metadata             CRUD     R        -        -    -    -
log                  L        -        -        -    -    -
label                CRUDL    CRUDL    RL       RL   -    RL
quota                R        R        R        R    R    -
repository           CRUDL<>  CRUDL<>  CRUL<>   RL<  RL<  L<
tag-retention        CRUDLO   CRUDLO   CRUDLO   -    -    -
immutable-tag        CUDL     CUDL     -        -    -    -
configuration        RU       R        R        R    R    -
robot                CRUDL    RL       RL       RL   -    -
notification-policy  CRUDL    RL       -        -    -    -
scan                 CRS      CRS      R        R    R    R
sbom                 CRS      CRS      R        R    R    -
scanner              CR       R        R        R    R    R
artifact             CRDL     CRDL     CRL      RL   RL   RL
artifact-addition    R        R        R        R    R    R
accessory            L        L        L        L    L    L
tag                  CDL      CDL      CL       L    L    L
artifact-label       CD       CD       CD       -    -    -
preheat-policy       CRUDL    -        -        -    -    -
export-cve           CRL      CRL      CRL      -    -    -
"""

_NEEDS = """
GET     /ping                                         anybody
GET     /health                                       anybody
GET     /systeminfo                                   anybody
GET     /systeminfo/volumes                           system
GET     /search                                       anybody
GET     /statistics                                   login
GET     /configurations                               system
PUT     /configurations                               system
GET     /permissions                                  login
GET     /users                                        system
POST    /users                                        system
GET     /users/current                                login
GET     /users/current/permissions                    login
GET     /users/search                                 login
GET     /users/{user_id}                              system
PUT     /users/{user_id}                              system
DELETE  /users/{user_id}                              system
PUT     /users/{user_id}/sysadmin                     system
PUT     /users/{user_id}/password                     system
PUT     /users/{user_id}/cli_secret                   system
POST    /system/oidc/ping                             system
GET     /usergroups                                   system
POST    /usergroups                                   system
GET     /usergroups/search                            login
GET     /usergroups/{group_id}                        system
PUT     /usergroups/{group_id}                        system
DELETE  /usergroups/{group_id}                        system
GET     /projects                                     anybody
HEAD    /projects                                     login
POST    /projects                                     login
GET     /projects/{project_name_or_id}                project:R
PUT     /projects/{project_name_or_id}                project:U
DELETE  /projects/{project_name_or_id}                project:D
GET     /projects/{project_name_or_id}/_deletable     project:D
GET     /projects/{project_name_or_id}/summary        project:R
GET     /projects/{project_name_or_id}/metadatas      metadata:L
POST    /projects/{project_name_or_id}/metadatas      metadata:C
GET     /projects/{project_name_or_id}/metadatas/{meta_name}  metadata:R
PUT     /projects/{project_name_or_id}/metadatas/{meta_name}  metadata:U
DELETE  /projects/{project_name_or_id}/metadatas/{meta_name}  metadata:D
GET     /projects/{project_name_or_id}/members        member:L
POST    /projects/{project_name_or_id}/members        member:C
GET     /projects/{project_name_or_id}/members/{mid}  member:R
PUT     /projects/{project_name_or_id}/members/{mid}  member:U
DELETE  /projects/{project_name_or_id}/members/{mid}  member:D
GET     /projects/{project_name}/logs                 log:L
GET     /projects/{project_name}/auditlog-exts        log:L
GET     /audit-logs                                   login
GET     /auditlog-exts                                login
GET     /auditlog-exts/events                         system
GET     /repositories                                 anybody
GET     /projects/{project_name}/repositories         repository:L
GET     {repository}                                  repository:R
PUT     {repository}                                  repository:U
DELETE  {repository}                                  repository:D
GET     /projects/{project_name_or_id}/artifacts      artifact:L
GET     {repository}/artifacts                        artifact:L
POST    {repository}/artifacts                        artifact:C
GET     {artifact}                                    artifact:R
DELETE  {artifact}                                    artifact:D
GET     {artifact}/tags                               tag:L
POST    {artifact}/tags                               tag:C
DELETE  {artifact}/tags/{tag_name}                    tag:D
GET     {artifact}/accessories                        accessory:L
GET     {artifact}/additions/{addition}               artifact-addition:R
POST    {artifact}/labels                             artifact-label:C
DELETE  {artifact}/labels/{label_id}                  artifact-label:D
GET     /labels                                       label:L
POST    /labels                                       label:C
GET     /labels/{label_id}                            label:R
PUT     /labels/{label_id}                            label:U
DELETE  /labels/{label_id}                            label:D
GET     /robots                                       robot:L
POST    /robots                                       robot:C
GET     /robots/{robot_id}                            robot:R
PUT     /robots/{robot_id}                            robot:U
PATCH   /robots/{robot_id}                            robot:U
DELETE  /robots/{robot_id}                            robot:D
GET     /robots/{robot_id}/trusts                     robot:R
POST    /robots/{robot_id}/trusts                     robot:U
DELETE  /robots/{robot_id}/trusts/{trust_id}          robot:U
GET     /replication/adapters                         system
GET     /replication/adapterinfos                     system
GET     /registries                                   system
POST    /registries                                   system
POST    /registries/ping                              system
GET     /registries/{id}                              system
PUT     /registries/{id}                              system
DELETE  /registries/{id}                              system
GET     /registries/{id}/info                         system
GET     /replication/policies                         system
POST    /replication/policies                         system
GET     /replication/policies/{id}                    system
PUT     /replication/policies/{id}                    system
DELETE  /replication/policies/{id}                    system
GET     /replication/executions                       system
POST    /replication/executions                       system
GET     /replication/executions/{id}                  system
PUT     /replication/executions/{id}                  system
GET     /replication/executions/{id}/tasks            system
GET     /replication/executions/{id}/tasks/{task_id}/log system
GET     /quotas                                       system
GET     /quotas/{id}                                  system
PUT     /quotas/{id}                                  system
POST    /ldap/ping                                    system
GET     /ldap/users/search                            system
POST    /ldap/users/import                            system
GET     /ldap/groups/search                           system
GET     /system/CVEAllowlist                          login
PUT     /system/CVEAllowlist                          system
GET     /system/gc                                    system
GET     /system/gc/schedule                           system
POST    /system/gc/schedule                           system
PUT     /system/gc/schedule                           system
GET     /system/gc/{gc_id}                            system
PUT     /system/gc/{gc_id}                            system
GET     /system/gc/{gc_id}/log                        system
GET     /system/purgeaudit                            system
GET     /system/purgeaudit/schedule                   system
POST    /system/purgeaudit/schedule                   system
PUT     /system/purgeaudit/schedule                   system
GET     /system/purgeaudit/{purge_id}                 system
PUT     /system/purgeaudit/{purge_id}                 system
GET     /system/purgeaudit/{purge_id}/log             system
GET     /schedules                                    system
GET     /schedules/{job_type}/paused                  system
"""

_REPOSITORY = "/projects/{project_name}/repositories/{repository_name}"
_ON_THE_WIRE = {"GET": "repository:<", "HEAD": "repository:<", "DELETE": "artifact:D"}


def _columns() -> dict[str, Held]:
    rows = [line.split() for line in _TABLE.strip().splitlines()]
    titles = (*ROLES, "public")
    return {title: {row[0]: row[number].strip("-") for row in rows} for number, title in enumerate(titles, start=1)}


def _needs() -> dict[tuple[str, str], str]:
    found = {}
    for line in _NEEDS.strip().splitlines():
        method, path, need = line.split()
        path = path.replace("{artifact}", "{repository}/artifacts/{reference}").replace("{repository}", _REPOSITORY)
        found[method, path] = need
    return found


COLUMNS = _columns()
NEEDS = _needs()
"""(method, path below ``/api/v2.0``) → ``anybody``, ``login``, ``system``, or resource and letter in a project."""


def on_the_wire(method: str, route: str) -> str:
    """The same for a route of the distribution specification: what a token must give."""
    return "repository:>" if "/uploads/" in route else _ON_THE_WIRE.get(method, "repository:>")


def holds(held: Held, need: str) -> bool:
    """Whether it is among what is held."""
    resource, _, letter = need.partition(":")
    return letter in held.get(resource, "")
