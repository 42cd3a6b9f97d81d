"""What another registry listed: for how long it is believed, and how much of it is remembered."""

from __future__ import annotations

from lading.registry.listed import Lists


def test_a_list_is_believed_for_a_while_and_known_after_that() -> None:
    believed, old = Lists(3600), Lists(0)
    for lists in (believed, old):
        assert lists.last("a") is None
        lists.keep("a", ["1"], 10)
        assert lists.last("a") == ["1"]
        assert lists.find("b") is None
    assert believed.find("a") == ["1"]
    assert old.find("a") is None


def test_the_oldest_go_where_there_is_too_much() -> None:
    lists = Lists(3600)
    for number in range(100):
        lists.keep(str(number), [number], 1 << 20)
    assert lists.find("99") == [99]
    assert lists.find("69") == [69]
    assert lists.find("60") is None
    for _ in range(100):
        lists.keep("99", [1], 1 << 20)
    assert lists.find("98") == [98], "one that is told anew takes no room twice"
    lists.keep("huge", [2], 1 << 30)
    assert lists.find("huge") == [2], "who asked for it is to have it"
