"""Rules of trust: which claims fit, and which rules are not taken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from lading.access.robots import RobotGrant, Robots
from lading.access.trusts import Configured, Trusts, check, fits, looks_like_one
from lading.errors import Conflict, Invalid
from lading.stores.metadata.transaction import Transaction
from tests.unit.access.house import House

ISSUER = "https://token.actions.githubusercontent.com"
GOOD = {"repository": ["example/*"]}


@pytest.mark.parametrize(
    ("wanted", "told", "good"),
    [
        ({"repository": ["example/*"]}, {"repository": "example/app"}, True),
        ({"repository": ["example/*"]}, {"repository": "example/app/deep"}, False),
        ({"repository": ["example/**"]}, {"repository": "example/app/deep"}, True),
        ({"repository": ["example/*"]}, {"repository": "example2/app"}, False),
        ({"repository": ["example/*"]}, {"repository": "evil/example/app"}, False),
        ({"repository": ["example/app"]}, {"repository": "example/app2"}, False),
        ({"repository": ["example/app"]}, {"repository": "Example/App"}, False),
        ({"repository": ["example/a.p"]}, {"repository": "example/app"}, False),
        ({"repository": ["example/*"]}, {"repository": "example/app\n"}, True),
        ({"ref": ["refs/heads/main"]}, {"ref": "refs/heads/main\n"}, False),
        ({"ref": ["refs/heads/main", "refs/tags/v*"]}, {"ref": "refs/tags/v1"}, True),
        ({"ref": ["refs/heads/main", "refs/tags/v*"]}, {"ref": "refs/heads/dev"}, False),
        ({"repository": ["example/*"], "environment": ["prod"]}, {"repository": "example/app"}, False),
        (
            {"repository": ["example/*"], "environment": ["prod"]},
            {"repository": "example/a", "environment": "prod"},
            True,
        ),
        ({"ref_protected": ["true"]}, {"ref_protected": True}, True),
        ({"ref_protected": ["true"]}, {"ref_protected": "true"}, True),
        ({"project_id": ["42"]}, {"project_id": 42}, True),
        ({"repository": ["example/*"]}, {"repository": ["example/app"]}, False),
        ({"repository": ["example/*"]}, {"repository": {"example/app": 1}}, False),
        ({"repository": ["example/*"]}, {"repository": None}, False),
        ({"repository": ["example/**"]}, {"repository": "example/" + "a" * 600}, False),
        ({"repository": ["**"]}, {}, True),
    ],
)
def test_claims(wanted: dict[str, list[str]], told: dict[str, Any], good: bool) -> None:
    assert fits(wanted, told) is good


@pytest.mark.parametrize(
    ("issuer", "audience", "claims", "max_age"),
    [
        ("http://token.example", "r", GOOD, 3600),
        ("https://user:pw@token.example", "r", GOOD, 3600),
        ("https://token.example/?x=1", "r", GOOD, 3600),
        ("https://", "r", GOOD, 3600),
        ("https://[", "r", GOOD, 3600),
        ("https://token.example/\n", "r", GOOD, 3600),
        ("https://" + "a" * 600, "r", GOOD, 3600),
        ("file:///etc/passwd", "r", GOOD, 3600),
        ("", "r", GOOD, 3600),
        (ISSUER, "", GOOD, 3600),
        (ISSUER, "r" * 300, GOOD, 3600),
        (ISSUER, "r", {}, 3600),
        (ISSUER, "r", {"repository": []}, 3600),
        (ISSUER, "r", {"repository": [""]}, 3600),
        (ISSUER, "r", {"": ["x"]}, 3600),
        (ISSUER, "r", {"repository": ["*"]}, 3600),
        (ISSUER, "r", {"repository": ["*/app"], "ref": ["**"]}, 3600),
        (ISSUER, "r", {"repository": ["example/*", "**"]}, 3600),
        (ISSUER, "r", {"repository": ["a" + "*b" * 7]}, 3600),
        (ISSUER, "r", {"repository": ["a" * 600]}, 3600),
        (ISSUER, "r", {str(number): ["x"] for number in range(30)}, 3600),
        (ISSUER, "r", GOOD, 5),
        (ISSUER, "r", GOOD, 10**9),
    ],
)
def test_rules_that_are_not_taken(issuer: str, audience: str, claims: dict[str, list[str]], max_age: int) -> None:
    check(ISSUER, "registry.example", {**GOOD, "ref": ["*"]}, 3600)
    check("http://127.0.0.1:8080", "r", GOOD, 60)
    with pytest.raises(Invalid):
        check(issuer, audience, claims, max_age)


def test_passwords_are_no_tokens() -> None:
    assert looks_like_one("ey" + "a" * 50 + "." + "b" * 50 + "." + "c" * 50)
    assert not looks_like_one("eye.of.newt")
    assert not looks_like_one("lading_rbt_" + "a" * 200)


def test_what_the_configuration_says_is_so_after_a_start(index_url: str) -> None:
    first = Configured("actions", "team", (("repository", "pull"), ("repository", "push")), ISSUER, "r", GOOD, 3600)

    async def told(house: House) -> dict[str, tuple[list[str], list[str]]]:
        async def work(tx: Transaction) -> dict[str, tuple[list[str], list[str]]]:
            _, found = await Robots(tx).page(100, every=True)
            grants = {one.login: [each.action for each in await Robots(tx).grants(one.id)] for one in found}
            rules = {one.login: [str(dict(each.claims)) for each in await Trusts(tx).of(one.id)] for one in found}
            return {name: (grants[name], rules[name]) for name in grants}

        return await house.read(work)

    async def do() -> None:
        house = await House(index_url).build()
        try:

            async def settle(*wanted: Configured) -> list[str]:
                return await house.write(lambda tx: Trusts(tx).settle(wanted, house.projects))

            await house.write(lambda tx: Robots(tx).add("mine", None, [RobotGrant("*", "repository", "pull")]))
            mine: dict[str, tuple[list[str], list[str]]] = {"robot$mine": (["pull"], [])}
            assert await settle(first) == await settle(first) == []
            assert await told(house) == {**mine, "robot$team+actions": (["pull", "push"], [str(GOOD)])}
            narrow = replace(first, grants=(("repository", "pull"),), claims={"ref": ("x",)})
            await settle(narrow)
            assert await told(house) == {**mine, "robot$team+actions": (["pull"], [str({"ref": ["x"]})])}
            await settle(replace(first, project="*"))
            assert set(await told(house)) == {"robot$mine", "robot$actions"}
            (left,) = await settle(replace(first, project="nowhere"))
            assert "there is no project nowhere" in left
            assert await told(house) == mine, "what is no more in the file is gone, and nothing else"
            with pytest.raises(Conflict, match="did not make"):
                await settle(replace(first, name="mine", project="*"))
        finally:
            await house.metadata.close()

    asyncio.run(do())
