"""Rules of trust of a robot: whose tokens stand for its secret. An addition to Harbor's API.

To make one is to learn the robot's secret, as far as rights go: whoever does must hold what the robot may.
"""

from __future__ import annotations

from lading.access.robots import Robots
from lading.access.trusts import Trust, Trusts
from lading.api.harbor.call import Call, Id, Model, Text, moment
from lading.api.harbor.robots import may_give, robot_of
from lading.api.request import Response
from lading.errors import Missing
from lading.stores.metadata.transaction import Transaction


class TrustAnswer(Model):
    """A rule; ``max_age`` in seconds since a token was issued."""

    id: int
    issuer: str
    audience: str
    claims: dict[str, list[str]]
    max_age: int
    creation_time: str


class TrustGiven(Model):
    """A rule to be: of each claim the patterns it may fit (``*`` is text without a slash, ``**`` any)."""

    issuer: Text
    audience: Text
    claims: dict[str, list[Text]]
    max_age: Id = 3600


async def index(call: Call) -> Response:
    """A robot's rules of trust."""

    async def read(tx: Transaction) -> list[TrustAnswer]:
        robot, _, _ = await robot_of(call, tx, "read")
        return [_answer(rule) for rule in await Trusts(tx).of(robot.id)]

    return call.json(await call.services.metadata.read(read))


async def create(call: Call) -> Response:
    """Let the tokens of an issuer stand for a robot."""
    given = await call.body(TrustGiven)

    async def add(tx: Transaction) -> Trust:
        robot, project, rights = await robot_of(call, tx, "update")
        await may_give(tx, rights, await Robots(tx).grants(robot.id))
        made = await Trusts(tx).add(robot.id, given.issuer, given.audience, given.claims, given.max_age)
        name = project.name if project else ""
        await call.note(
            tx, "update", "robot", robot.login, project=name, detail=f"trusts {made.issuer} (rule {made.id})"
        )
        return made

    made = await call.services.metadata.write(add)
    return call.made(f"/robots/{made.robot}/trusts/{made.id}", _answer(made))


async def delete(call: Call) -> Response:
    """Trust no more."""

    async def remove(tx: Transaction) -> None:
        robot, project, _ = await robot_of(call, tx, "update")
        if not await Trusts(tx).delete(robot.id, call.number("trust_id")):
            raise Missing(f"{robot.login} has no rule of trust {call.number('trust_id')}")
        name, detail = project.name if project else "", f"rule of trust {call.number('trust_id')} deleted"
        await call.note(tx, "update", "robot", robot.login, project=name, detail=detail)

    await call.services.metadata.write(remove)
    return call.done()


def _answer(rule: Trust) -> TrustAnswer:
    return TrustAnswer(
        id=rule.id,
        issuer=rule.issuer,
        audience=rule.audience,
        claims={name: list(patterns) for name, patterns in rule.claims.items()},
        max_age=rule.max_age,
        creation_time=moment(rule.created_at),
    )
