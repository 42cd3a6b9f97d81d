"""The operations of Harbor's API that are not here: known by name, and answered with 501."""

from __future__ import annotations

from collections.abc import Iterator

_OPERATIONS = """
configuration:
GET /internalconfig
scan:
POST /projects/{project_name}/repositories/{repository_name}/artifacts/{reference}/scan
POST /projects/{project_name}/repositories/{repository_name}/artifacts/{reference}/scan/stop
GET /projects/{project_name}/repositories/{repository_name}/artifacts/{reference}/scan/{report_id}/log
artifact:
GET /projects/{project_name}/repositories/{repository_name}/artifacts/{reference}/additions/vulnerabilities
project:
GET,PUT /projects/{project_name_or_id}/scanner
GET /projects/{project_name_or_id}/scanner/candidates
preheat:
GET /p2p/preheat/providers
POST /p2p/preheat/instances/ping
GET,POST /p2p/preheat/instances
GET,DELETE,PUT /p2p/preheat/instances/{preheat_instance_name}
POST,GET /projects/{project_name}/preheat/policies
GET,PUT,POST,DELETE /projects/{project_name}/preheat/policies/{preheat_policy_name}
GET /projects/{project_name}/preheat/policies/{preheat_policy_name}/executions
GET,PATCH /projects/{project_name}/preheat/policies/{preheat_policy_name}/executions/{execution_id}
GET /projects/{project_name}/preheat/policies/{preheat_policy_name}/executions/{execution_id}/tasks
GET /projects/{project_name}/preheat/policies/{preheat_policy_name}/executions/{execution_id}/tasks/{task_id}/logs
GET /projects/{project_name}/preheat/providers
immutable tags:
GET,POST /projects/{project_name_or_id}/immutabletagrules
PUT,DELETE /projects/{project_name_or_id}/immutabletagrules/{immutable_rule_id}
webhooks:
GET,POST /projects/{project_name_or_id}/webhook/policies
GET,PUT,DELETE /projects/{project_name_or_id}/webhook/policies/{webhook_policy_id}
GET /projects/{project_name_or_id}/webhook/policies/{webhook_policy_id}/executions
GET /projects/{project_name_or_id}/webhook/policies/{webhook_policy_id}/executions/{execution_id}/tasks
GET /projects/{project_name_or_id}/webhook/policies/{webhook_policy_id}/executions/{execution_id}/tasks/{task_id}/log
GET /projects/{project_name_or_id}/webhook/lasttrigger
GET /projects/{project_name_or_id}/webhook/events
GET /projects/{project_name_or_id}/webhook/jobs
icon:
GET /icons/{digest}
scan of everything:
GET /scans/all/metrics
GET /scans/schedule/metrics
GET,PUT,POST /system/scanAll/schedule
POST /system/scanAll/stop
systeminfo:
GET /systeminfo/getcert
jobservice:
GET /jobservice/pools
GET /jobservice/pools/{pool_id}/workers
PUT /jobservice/jobs/{job_id}
GET /jobservice/jobs/{job_id}/log
GET /jobservice/queues
PUT /jobservice/queues/{job_type}
retention:
GET /retentions/metadatas
POST /retentions
GET,PUT,DELETE /retentions/{id}
POST,GET /retentions/{id}/executions
PATCH /retentions/{id}/executions/{eid}
GET /retentions/{id}/executions/{eid}/tasks
GET /retentions/{id}/executions/{eid}/tasks/{tid}
scanner:
GET,POST /scanners
POST /scanners/ping
GET,PUT,DELETE,PATCH /scanners/{registration_id}
GET /scanners/{registration_id}/metadata
export of vulnerabilities:
POST /export/cve
GET /export/cve/execution/{execution_id}
GET /export/cve/executions
GET /export/cve/download/{execution_id}
security overview:
GET /security/summary
GET /security/vul
"""


def operations() -> Iterator[tuple[str, str, str]]:
    """Method, path below the API's own, and what of Harbor's it belongs to."""
    subject = ""
    for line in _OPERATIONS.strip().splitlines():
        if line.endswith(":"):
            subject = line[:-1]
        else:
            methods, path = line.split()
            for method in methods.split(","):
                yield method, path, subject
