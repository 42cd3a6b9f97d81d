"""What is kept, and what makes room."""

from __future__ import annotations

from lading.access.remembered import Remembered


def test_a_value_lives_until_its_time() -> None:
    held: Remembered[str] = Remembered(entries=2)
    held.put(b"a", "A", until=10)
    assert held.get(b"a", 9.9) == "A"
    assert held.get(b"a", 10) is None
    assert len(held) == 0


def test_the_one_used_longest_ago_makes_room() -> None:
    held: Remembered[str] = Remembered(entries=2)
    held.put(b"a", "A", 10)
    held.put(b"b", "B", 10)
    held.get(b"a", 0)
    held.put(b"c", "C", 10)
    assert (held.get(b"a", 0), held.get(b"b", 0), held.get(b"c", 0)) == ("A", None, "C")


def test_weight_bounds_it_too_and_is_given_back() -> None:
    held: Remembered[str] = Remembered(entries=100, weight=10)
    held.put(b"a", "A", 10, weight=6)
    held.put(b"a", "A", 10, weight=6)
    assert held.get(b"a", 0) == "A"
    held.put(b"b", "B", 10, weight=6)
    assert held.get(b"a", 0) is None
    assert held.get(b"b", 0) == "B"
    assert held.get(b"b", 11) is None
    held.put(b"c", "C", 10, weight=5)
    held.put(b"d", "D", 10, weight=5)
    assert len(held) == 2
    held.put(b"e", "E", 10, weight=11)
    assert len(held) == 0
