"""YAML as a tree of what was written, and everything a file can have wrong before any key is looked at."""

from __future__ import annotations

import pytest

from lading.config.reader import DEEPEST, LONGEST, YAMLInvalidError, read
from lading.config.values import Plain


def test_plain_words_are_told_from_quoted_ones() -> None:
    tree = read("a: 0755\nb: '0755'\nc: yes\nd: \"yes\"\ne:\nf: ~\ng: [1, '2']\nh: |\n  text\n")
    assert tree == {
        "a": "0755",
        "b": "0755",
        "c": "yes",
        "d": "yes",
        "e": None,
        "f": None,
        "g": ["1", "2"],
        "h": "text\n",
    }
    kinds = {key: isinstance(value, Plain) for key, value in tree.items()}
    assert kinds == {"a": True, "b": False, "c": True, "d": False, "e": False, "f": False, "g": False, "h": False}
    assert [isinstance(item, Plain) for item in tree["g"]] == [True, False]


def test_tags_say_what_a_word_is() -> None:
    tree = read("a: !!str 5\nb: !!int '5'\nc: ! x")
    assert tree == {"a": "5", "b": "5", "c": "x"}
    assert not isinstance(tree["a"], Plain)
    assert isinstance(tree["b"], Plain)


def test_anchors_and_merges() -> None:
    tree = read("base: &base {x: 1, y: 2}\nmore: &more {y: 3, z: 4}\nall: {<<: [*base, *more], x: 9}\nsame: *base\n")
    assert tree["all"] == {"x": "9", "y": "2", "z": "4"}
    assert tree["same"] == {"x": "1", "y": "2"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~"])
def test_nothing_is_none(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("a:\n  b: 1\n  b: 2", "line 3: the key 'b' is there twice"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins"),
        ("[1, 2]: x", "line 1: a key must be a word"),
        ("~: x", "line 1: a key must be a word"),
        ("a: *nowhere", "line 1: an alias"),
        ("a: &a [*a]", "line 1: an alias"),
        ("a: {<<: 5}", "line 1: '<<' takes a map"),
        ("a: !!python/object:os.system x", "line 1: a tag"),
        ("a: !!binary aGk=", "line 1: a tag"),
        ("a: [1", "line "),
        ("a: b: c", "line 1: "),
        ("\ta: b", "line 1: "),
        ("a: @b", "line 1: "),
        ("a: \x00", "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(YAMLInvalidError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_what_is_wrong_is_told_without_the_text() -> None:
    with pytest.raises(YAMLInvalidError) as caught:
        read("password: geheim: geheim")
    assert "geheim" not in str(caught.value)


def test_deep_nesting_is_refused() -> None:
    assert read("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(YAMLInvalidError, match="deep"):
        read("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    with pytest.raises(YAMLInvalidError):
        read("[" * 100_000)


def test_nesting_through_aliases_counts() -> None:
    half = "[" * 25
    with pytest.raises(YAMLInvalidError, match="deep"):
        read(f"a: &a {half}{']' * 25}\nb: {half}*a {']' * 25}")


def test_a_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(YAMLInvalidError, match="too large"):
        read("\n".join(lines))


def test_a_large_file_is_refused() -> None:
    with pytest.raises(YAMLInvalidError, match="1 MiB"):
        read("#" * (LONGEST + 1))
