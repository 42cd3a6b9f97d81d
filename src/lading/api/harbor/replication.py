"""Replication: policies, their executions, and the tasks of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from lading.api.harbor.call import Call, Id, Model, Number, Text, moment
from lading.api.harbor.problems import Precondition
from lading.api.harbor.registries import HEALTHY, RegistryAnswer
from lading.api.harbor.registries import answer as registry_answer
from lading.api.harbor.registries import found as registry_found
from lading.api.request import Response
from lading.control.replication.endpoints import HARBOR, Endpoints
from lading.control.replication.filters import WHOLE, Filter
from lading.control.replication.policies import MANUAL, SCHEDULED, Policies, Policy, Terms, check
from lading.control.replication.runs import DONE, FAILED, PENDING, RUNNING, STOPPED, Run, Runs, Task
from lading.control.replication.triggers import schedule
from lading.errors import Invalid, Missing
from lading.jobs.schedule import Schedules
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction

_KB = 1024


class Side(Model):
    """A registry by its id; 0 is this one."""

    id: Id = 0


class Settings(Model):
    """When a schedule is due: a cron expression of six fields, the first of them seconds."""

    cron: Text = ""


class Trigger(Model):
    """What begins an execution: manual, scheduled or event_based."""

    type: Text = MANUAL
    trigger_settings: Settings | None = None


class FilterGiven(Model):
    """A condition: name, tag, label or resource."""

    type: Text
    value: Text | list[Text] = ""
    decoration: Text = ""


class PolicyGiven(Model):
    """A policy to be, or what it is to become."""

    name: Text
    description: Text = ""
    src_registry: Side | None = None
    dest_registry: Side | None = None
    dest_namespace: Text = ""
    dest_namespace_replace_count: Number = WHOLE
    trigger: Trigger | None = None
    filters: list[FilterGiven] | None = None
    replicate_deletion: bool | None = None
    deletion: bool | None = None
    override: bool = False
    enabled: bool = True
    speed: Number = 0
    copy_by_chunk: bool = False
    single_active_replication: bool = False


class PolicyAnswer(Model, omit_defaults=False):
    """A policy; ``speed`` in KB a second, -1 for no limit."""

    id: int
    name: str
    description: str
    src_registry: RegistryAnswer
    dest_registry: RegistryAnswer
    dest_namespace: str
    dest_namespace_replace_count: int
    trigger: Trigger
    filters: list[FilterGiven]
    replicate_deletion: bool
    deletion: bool
    override: bool
    enabled: bool
    speed: int
    copy_by_chunk: bool
    single_active_replication: bool
    creation_time: str
    update_time: str


class Start(Model):
    """Which policy is to be done now."""

    policy_id: Id


class ExecutionAnswer(Model):
    """An execution: its state, and how many of its tasks are in which."""

    id: int
    policy_id: int
    status: str
    status_text: str
    trigger: str
    start_time: str
    total: int
    failed: int
    succeed: int
    in_progress: int
    stopped: int
    end_time: str | None = None


class TaskAnswer(Model):
    """A task: what was done to one repository."""

    id: int
    execution_id: int
    status: str
    job_id: str
    operation: str
    resource_type: str
    src_resource: str
    dst_resource: str
    start_time: str
    end_time: str | None = None


# ---- policies


async def policies(call: Call) -> Response:
    """The policies; ``name`` looks for a part of the name."""
    page = call.page()
    if call.argument("name"):
        page = replace(page, where=(*page.where, Match("name", "like", (call.argument("name"),))))

    async def read(tx: Transaction) -> tuple[int, list[PolicyAnswer]]:
        total, found = await Policies(tx).listed(page)
        return total, [await _policy(tx, one) for one in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def create_policy(call: Call) -> Response:
    """Add a policy."""
    given = await call.body(PolicyGiven)

    async def add(tx: Transaction) -> Policy:
        made = await Policies(tx).add(await _given(tx, given, 0))
        await schedule(tx, made)
        await call.note(tx, "create", "replication-policy", made.name)
        return made

    made = await call.services.metadata.write(add)
    return call.made(f"/replication/policies/{made.id}")


async def get_policy(call: Call) -> Response:
    """One policy."""

    async def read(tx: Transaction) -> PolicyAnswer:
        return await _policy(tx, await _found(tx, call.number("id")))

    return call.json(await call.services.metadata.read(read))


async def update_policy(call: Call) -> Response:
    """Set all of a policy; from where to where only while no execution is under way."""
    given = await call.body(PolicyGiven)

    async def change(tx: Transaction) -> None:
        before = await _found(tx, call.number("id"))
        one = await _given(tx, given, before.id)
        if (one.source, one.target) != (before.source, before.target):
            # what waits was planned by the names and the direction of before; a deletion may be among it
            await _ended(call, tx, before)
        await Policies(tx).change(one)
        await schedule(tx, one)
        await call.note(tx, "update", "replication-policy", one.name)

    await call.services.metadata.write(change)
    return call.done()


async def delete_policy(call: Call) -> Response:
    """Delete a policy of which no execution is under way."""

    async def remove(tx: Transaction) -> None:
        one = await _found(tx, call.number("id"))
        await _ended(call, tx, one)
        await Schedules(tx).remove(one.schedule)
        await Policies(tx).delete(one.id)
        await call.note(tx, "delete", "replication-policy", one.name)

    await call.services.metadata.write(remove)
    return call.done()


# ---- executions


async def executions(call: Call) -> Response:
    """The executions, the newest first."""
    page = call.page()
    wanted = [
        Match(field, "is", (call.argument(field),))
        for field in ("policy_id", "status", "trigger")
        if call.argument(field)
    ]
    page = replace(page, where=(*page.where, *wanted))

    async def read(tx: Transaction) -> tuple[int, list[ExecutionAnswer]]:
        total, found = await Runs(tx).listed(page)
        return total, [_execution(one, await Runs(tx).counts(one.id)) for one in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def start(call: Call) -> Response:
    """Have a policy done now."""
    given = await call.body(Start)

    async def begin(tx: Transaction) -> int:
        policy = await _found(tx, given.policy_id)
        if not policy.enabled:
            raise Precondition(f"the policy {policy.name} is disabled")
        run = await Runs(tx).start(policy, MANUAL, call.services.queue)
        await call.note(tx, "start", "replication", policy.name, detail=str(run))
        return run

    run = await call.services.metadata.write(begin)
    return call.made(f"/replication/executions/{run}")


async def get_execution(call: Call) -> Response:
    """One execution."""

    async def read(tx: Transaction) -> ExecutionAnswer:
        one = await _run(tx, call.number("id"))
        return _execution(one, await Runs(tx).counts(one.id))

    return call.json(await call.services.metadata.read(read))


async def stop(call: Call) -> Response:
    """End an execution; what is under way ends when its process hears of it."""

    async def end(tx: Transaction) -> None:
        one = await _run(tx, call.number("id"))
        await Runs(tx).stop(one, call.services.queue)
        await call.note(tx, "stop", "replication", str(one.id))

    await call.services.metadata.write(end)
    return call.done()


async def tasks(call: Call) -> Response:
    """The tasks of an execution."""
    page = call.page()
    wanted = [
        Match(field, "is", (call.argument(field),)) for field in ("status", "resource_type") if call.argument(field)
    ]
    page = replace(page, where=(*page.where, *wanted))

    async def read(tx: Transaction) -> tuple[int, list[TaskAnswer]]:
        run = await _run(tx, call.number("id"))
        total, found = await Runs(tx).tasks(run.id, page)
        return total, [_task(run, one) for one in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def log(call: Call) -> Response:
    """What a task wrote down."""

    async def read(tx: Transaction) -> str:
        run = await _run(tx, call.number("id"))
        one = await Runs(tx).task(call.number("task_id"))
        if one is None or one.run != run.id:
            raise Missing(f"execution {run.id} has no task {call.number('task_id')}")
        return await Runs(tx).log(one.id)

    text = await call.services.metadata.read(read)
    return Response(200, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())


# ---- from and to what the API shows


async def _ended(call: Call, tx: Transaction, policy: Policy) -> None:
    """Have a policy alone, and raise ``Precondition`` where an execution of it is under way."""
    await Policies(tx).hold(policy.id)
    await Runs(tx).settle(policy.id, call.services.queue)
    if await Runs(tx).under_way(policy.id):
        raise Precondition(f"an execution of {policy.name} has not ended; stop it first")


async def _given(tx: Transaction, given: PolicyGiven, number: int) -> Policy:
    trigger = given.trigger or Trigger()
    settings = trigger.trigger_settings or Settings()
    source, target = (side.id if side else 0 for side in (given.src_registry, given.dest_registry))
    if source and target:
        raise Invalid("src_registry and dest_registry are both other registries; leave out the one that is this one")
    deletion = given.deletion if given.replicate_deletion is None else given.replicate_deletion
    endpoint = await registry_found(tx, source or target) if source or target else None
    one = Policy(
        id=number,
        name=given.name,
        description=given.description,
        source=source or None,
        target=target or None,
        enabled=given.enabled,
        cause=trigger.type,
        terms=Terms(
            namespace=given.dest_namespace,
            replace=given.dest_namespace_replace_count,
            cron=settings.cron if trigger.type == SCHEDULED else "",
            filters=tuple(Filter(each.type, each.value, each.decoration) for each in given.filters or () if each.value),
            deletion=bool(deletion),
            override=given.override,
            speed=max(0, given.speed) * _KB,
            chunks=given.copy_by_chunk,
            single=given.single_active_replication,
        ),
        created_at=0,
        updated_at=0,
    )
    check(one, endpoint if source else None, tx.now)
    return one


async def _policy(tx: Transaction, one: Policy) -> PolicyAnswer:
    terms = one.terms
    settings = Settings(cron=terms.cron) if terms.cron else None
    return PolicyAnswer(
        id=one.id,
        name=one.name,
        description=one.description,
        src_registry=await _side(tx, one.source),
        dest_registry=await _side(tx, one.target),
        dest_namespace=terms.namespace,
        dest_namespace_replace_count=terms.replace,
        trigger=Trigger(type=one.cause, trigger_settings=settings),
        filters=[msgspec.convert(each, FilterGiven, from_attributes=True) for each in terms.filters],
        replicate_deletion=terms.deletion,
        deletion=terms.deletion,
        override=terms.override,
        enabled=one.enabled,
        speed=terms.speed // _KB or -1,
        copy_by_chunk=terms.chunks,
        single_active_replication=terms.single,
        creation_time=moment(one.created_at),
        update_time=moment(one.updated_at),
    )


async def _side(tx: Transaction, endpoint: int | None) -> RegistryAnswer:
    found = await Endpoints(tx).find(endpoint) if endpoint else None
    if found is not None:
        return registry_answer(found)
    return RegistryAnswer(
        id=0,
        name="Local",
        url="",
        type=HARBOR,
        description="",
        insecure=False,
        status=HEALTHY,
        creation_time=moment(0),
        update_time=moment(0),
    )


async def _found(tx: Transaction, policy: int) -> Policy:
    one = await Policies(tx).find(policy)
    if one is None:
        raise Missing(f"there is no replication policy {policy}")
    return one


async def _run(tx: Transaction, run: int) -> Run:
    one = await Runs(tx).find(run)
    if one is None:
        raise Missing(f"there is no replication execution {run}")
    return one


def _execution(one: Run, counts: Mapping[str, int]) -> ExecutionAnswer:
    return ExecutionAnswer(
        id=one.id,
        policy_id=one.policy,
        status=one.state,
        status_text=one.told,
        trigger=one.cause,
        start_time=moment(one.began_at),
        total=sum(counts.values()),
        failed=counts.get(FAILED, 0),
        succeed=counts.get(DONE, 0),
        in_progress=counts.get(RUNNING, 0) + counts.get(PENDING, 0),
        stopped=counts.get(STOPPED, 0),
        end_time=None if one.ended_at is None else moment(one.ended_at),
    )


def _task(run: Run, one: Task) -> TaskAnswer:
    tags = f":[{','.join(one.tags)}]" if one.tags else ""
    return TaskAnswer(
        id=one.id,
        execution_id=one.run,
        status=one.state,
        job_id=str(run.job or ""),
        operation=one.action,
        resource_type=one.kind,
        src_resource=one.source + tags,
        dst_resource=one.target + tags,
        start_time=moment(one.began_at),
        end_time=None if one.ended_at is None else moment(one.ended_at),
    )
