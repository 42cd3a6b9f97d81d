"""Who may what: roles, groups, paths, custom roles, robots, limited tokens, and nobody in particular."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lading.access import scopes
from lading.access.groups import Groups
from lading.access.members import Members, namespace
from lading.access.permissions import DEVELOPER, GUEST
from lading.access.principal import ANONYMOUS, Kind, Principal
from lading.access.rights import Rights
from lading.access.robots import RobotGrant, Robots
from lading.access.roles import Roles
from lading.access.users import Users
from lading.control.projects import Projects
from lading.errors import Conflict, Invalid
from lading.registry.repositories import Repositories
from lading.registry.sight import Sight
from lading.stores.metadata.transaction import Transaction
from tests.unit.access.house import House

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(index_url: str) -> AsyncIterator[House]:
    made = await House(index_url).build()
    yield made
    await made.metadata.close()


async def granted(house: House, who: Principal, *wanted: str, anonymous: bool = True) -> list[str]:
    async def work(tx: Transaction) -> list[str]:
        rights = await Rights.of(tx, who, anonymous=anonymous)
        return [str(each) for each in await rights.grant(scopes.parse(text) for text in wanted)]

    return await house.read(work)


ALL = "repository:team/app:pull,push,delete"


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("root", "pull,push,delete"),
        ("boss", "pull,push,delete"),
        ("keeper", "pull,push,delete"),
        ("dev", "pull,push"),
        ("visitor", "pull"),
        ("limited", "pull"),
        ("stranger", ""),
    ],
)
async def test_a_token_has_what_the_role_gives(house: House, name: str, actions: str) -> None:
    assert await granted(house, house.user(name), ALL) == ([f"repository:team/app:{actions}"] if actions else [])


async def test_a_project_that_is_not_there_gives_nothing_but_to_administrators(house: House) -> None:
    for name in ("boss", "stranger"):
        assert await granted(house, house.user(name), "repository:nowhere/app:pull") == []
    assert await granted(house, house.user("root"), "repository:nowhere/app:pull") == ["repository:nowhere/app:pull"]


async def test_everybody_may_pull_what_is_public(house: House) -> None:
    wanted = "repository:open/app:pull,push"
    for who in (house.user("stranger"), ANONYMOUS):
        assert await granted(house, who, wanted) == ["repository:open/app:pull"]
    assert await granted(house, ANONYMOUS, wanted, anonymous=False) == []
    assert await granted(house, house.user("stranger"), wanted, anonymous=False) == ["repository:open/app:pull"]


async def test_the_star_stands_for_what_may_be_had(house: House) -> None:
    assert await granted(house, house.user("boss"), "repository:team/app:*") == [
        "repository:team/app:pull,push,delete,*"
    ]
    assert await granted(house, house.user("dev"), "repository:team/app:*") == ["repository:team/app:pull,push"]


async def test_other_scopes(house: House) -> None:
    boss = house.user("boss")
    assert await granted(house, boss, "registry:catalog:*", "registry:catalog:search") == ["registry:catalog:*,search"]
    assert await granted(house, boss, "registry:other:*", "plugin:team/app:pull") == []
    assert await granted(house, boss, "repository(plugin):team/app:pull") == ["repository:team/app:pull"]
    assert await granted(house, boss, "repository:localhost:5000/team/app:pull") == [
        "repository:localhost:5000/team/app:pull"
    ]
    assert await granted(house, boss, "repository:localhost:5000/other/app:pull", "repository:..:pull") == []


def test_the_project_of_a_repository() -> None:
    assert [namespace(name) for name in ("nginx", "team/app", "team/a/b")] == ["library", "team", "team"]


async def test_a_group_gives_what_its_role_does_and_its_end_takes_it(house: House) -> None:
    async def join(tx: Transaction) -> None:
        group = await Groups(tx).add("devs")
        await Groups(tx).join(house.ids["stranger"], group.id)
        await Members(tx).add(house.projects["team"], "g", group.id, DEVELOPER)

    await house.write(join)
    assert await granted(house, house.user("stranger"), ALL) == ["repository:team/app:pull,push"]

    async def end(tx: Transaction) -> None:
        group = await Groups(tx).named("devs")
        assert group is not None
        await Groups(tx).delete(group)

    await house.write(end)
    assert await granted(house, house.user("stranger"), ALL) == []


@pytest.mark.parametrize(
    ("path", "yes", "no"),
    [
        ("team/web/", ["team/web/a", "team/web/b/c"], ["team/web", "team/webster", "team/app"]),
        ("team/web/*", ["team/web/a"], ["team/web"]),
        ("team/web", ["team/web"], ["team/web/a", "team/webs"]),
    ],
)
async def test_a_role_on_a_part_of_a_project(house: House, path: str, yes: list[str], no: list[str]) -> None:
    own = house.projects["team"]
    await house.write(lambda tx: Members(tx).grant(own, "u", house.ids["stranger"], path, DEVELOPER))
    for name in (*yes, *no):
        found = await granted(house, house.user("stranger"), f"repository:{name}:pull,push")
        assert found == ([f"repository:{name}:pull,push"] if name in yes else []), name

    async def see(tx: Transaction) -> tuple[bool, bool]:
        rights = await Rights.of(tx, house.user("stranger"))
        project = await rights.project("team")
        assert project is not None
        return await rights.sees(project), await rights.allowed("member", "list", project)

    assert await house.read(see) == (True, False)
    (held,) = await house.read(lambda tx: Members(tx).grants(own))
    assert await house.write(lambda tx: Members(tx).withdraw(own, held.id))
    assert await granted(house, house.user("stranger"), f"repository:{yes[0]}:pull") == []


async def test_a_path_of_another_project_is_refused(house: House) -> None:
    own = house.projects["team"]
    for path in ("open/app", "open/", "../team/", "team", "/", "team//x/"):

        async def grant(tx: Transaction, path: str = path) -> None:
            await Members(tx).grant(own, "u", house.ids["dev"], path, GUEST)

        with pytest.raises(Invalid):
            await house.write(grant)


async def test_a_custom_role(house: House) -> None:
    async def make(tx: Transaction) -> int:
        role = await Roles(tx).add("deployer", {"repository": ["pull"], "tag": ["create", "delete"]})
        await Members(tx).add(house.projects["team"], "u", house.ids["stranger"], role.id)
        return role.id

    number = await house.write(make)
    assert number >= 100
    assert await granted(house, house.user("stranger"), ALL) == ["repository:team/app:pull"]

    async def refuse(tx: Transaction) -> None:
        role = await Roles(tx).named("deployer")
        assert role is not None
        await Roles(tx).delete(role)

    with pytest.raises(Conflict, match="still have"):
        await house.write(refuse)
    with pytest.raises(Invalid, match="user:create"):
        await house.write(lambda tx: Roles(tx).add("greedy", {"user": ["create"]}))
    with pytest.raises(Conflict, match="already"):
        await house.write(lambda tx: Roles(tx).add("Guest", {"tag": ["list"]}))


async def test_who_is_disabled_or_gone_may_nothing_not_even_what_anybody_may(house: House) -> None:
    async def disable(tx: Transaction) -> None:
        user = await Users(tx).named("boss")
        assert user is not None
        await Users(tx).set_disabled(user, disabled=True)

    await house.write(disable)
    assert await granted(house, house.user("boss"), ALL, "repository:open/app:pull") == []
    gone = Principal("ghost", Kind.USER, 9999)
    assert await granted(house, gone, ALL, "repository:open/app:pull") == []


async def test_a_limited_token_has_the_part_of_its_owners_rights(house: House) -> None:
    limited = house.user("boss", "repository:team/app:pull", "repository:team/web/*:pull,push", "repository:open/x:*")
    assert await granted(house, limited, ALL) == ["repository:team/app:pull"]
    assert await granted(house, limited, "repository:team/web/a:pull,push,delete") == [
        "repository:team/web/a:pull,push"
    ]
    assert await granted(house, limited, "repository:team/other:pull") == []
    # boss is nobody in the project open: a limit gives nothing
    assert await granted(house, limited, "repository:open/x:pull,push") == ["repository:open/x:pull"]

    async def manage(tx: Transaction) -> bool:
        rights = await Rights.of(tx, limited)
        return await rights.allowed("robot", "create", await rights.project("team"))

    assert not await house.read(manage)
    assert await granted(house, limited, "registry:catalog:*") == []


async def robot(house: House, *grants: tuple[str, str, str], project: str = "") -> Principal:
    level = (house.projects[project], project) if project else None
    wanted = [RobotGrant(*each) for each in grants]
    made, _ = await house.write(lambda tx: Robots(tx).add(f"ci{len(grants)}", level, wanted))
    return Principal(made.login, Kind.ROBOT, made.id)


async def test_a_robot_has_what_it_was_given(house: House) -> None:
    mine = await robot(house, ("team", "repository", "pull"), ("team", "artifact", "delete"), project="team")
    assert mine.name == "robot$team+ci2"
    assert await granted(house, mine, ALL, "repository:library/x:pull") == ["repository:team/app:pull,delete"]
    every = await robot(house, ("*", "repository", "push"), ("*", "repository", "pull"), ("/", "project", "list"))
    assert await granted(house, every, ALL) == ["repository:team/app:pull,push"]

    async def rights(tx: Transaction) -> list[bool]:
        held = await Rights.of(tx, every)
        return [await held.allowed("project", "list"), await held.allowed("user", "create")]

    assert await house.read(rights) == [True, False]

    async def sees(tx: Transaction) -> list[bool]:
        held = await Rights.of(tx, mine)
        found = [await held.project(name) for name in ("team", "open", "library")]
        return [project is not None and await held.sees(project) for project in found]

    await house.write(lambda tx: Projects(tx).add("library", None))
    assert await house.read(sees) == [True, True, False]


@pytest.mark.parametrize(
    ("grant", "may"),
    [
        (("team", "repository", "pull"), True),
        (("team", "robot", "create"), True),
        (("team", "repository", "push"), False),
        (("open", "robot", "create"), False),
        (("*", "repository", "pull"), False),
        (("/", "user", "create"), False),
    ],
)
async def test_a_robot_gives_no_robot_more_than_it_has(house: House, grant: tuple[str, str, str], may: bool) -> None:
    mine = await robot(house, ("team", "repository", "pull"), ("team", "robot", "create"), project="team")

    async def give(tx: Transaction) -> bool:
        return await (await Rights.of(tx, mine)).may_give([RobotGrant(*grant)])

    assert await house.read(give) is may


async def test_a_projects_robot_stays_in_its_project(house: House) -> None:
    with pytest.raises(Invalid, match="in team only"):
        await robot(house, ("open", "repository", "pull"), project="team")
    with pytest.raises(Invalid, match="repository:fly"):
        await robot(house, ("team", "repository", "fly"), project="team")


async def test_lists_show_what_may_be_seen(house: House) -> None:
    from sqlalchemy import text

    from lading.stores.metadata.transaction import Statement

    manifest = Statement(
        text(
            "INSERT INTO manifests (repository_id, blob_id, digest, media_type, size, artifact_type, annotations,"
            " pushed_at, touched_at) VALUES (:r, :b, :d, '', 1, '', '{}', 0, 0)"
        )
    )
    blob = Statement(text("INSERT INTO blobs (digest, size, present, touched_at) VALUES (:d, 1, :yes, 0)"))

    async def fill(tx: Transaction) -> None:
        for number, name in enumerate(("open/a", "team/app", "team/web/x", "elsewhere/z"), start=1):
            await tx.execute(blob, d=str(number), yes=True)
            own = await Repositories(tx).ensure(name)
            await tx.execute(manifest, r=own, b=number, d=str(number))
            project = await Projects(tx).named(namespace(name))
            if project is not None:
                await Projects(tx).put(project.id, own)
        own = house.projects["team"]
        await Members(tx).grant(own, "u", house.ids["stranger"], "team/web/", GUEST)

    await house.write(fill)

    async def seen(sight: Sight) -> list[str]:
        return await house.read(lambda tx: Repositories(tx).page("", 100, sight))

    assert await seen(Sight()) == ["elsewhere/z", "open/a", "team/app", "team/web/x"]
    assert await seen(Sight(everything=False)) == ["open/a"]
    assert await seen(Sight(everything=False, public=False)) == []
    assert await seen(Sight(everything=False, user=house.ids["dev"])) == ["open/a", "team/app", "team/web/x"]
    assert await seen(Sight(everything=False, user=house.ids["stranger"])) == ["open/a", "team/web/x"]
    mine = await robot(house, ("team", "repository", "pull"), project="team")
    assert await seen(Sight(everything=False, public=False, robot=mine.id)) == ["team/app", "team/web/x"]

    async def projects(sight: Sight) -> list[str]:
        _, found = await house.read(lambda tx: Projects(tx).page(10, sight=sight))
        return [each.name for each in found]

    assert await projects(Sight(everything=False, user=house.ids["stranger"])) == ["open", "team"]
    assert await projects(Sight(everything=False, user=99)) == ["open"]
