"""What Tab completes, as the shells themselves have it."""

from __future__ import annotations

from pathlib import Path

from tests.support import images
from tests.support.client import User
from tests.support.process import run


def test_completion(user: User) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_LADING_COMPLETE" in user("completion", shell)
    asked = {"_LADING_COMPLETE": "bash_complete", "COMP_WORDS": "lading pu", "COMP_CWORD": "1"}
    assert {"plain,pull", "plain,push"} == set(User(user.home, **asked).run().stdout.split())


def test_bash_completes(user: User, tmp_path: Path) -> None:
    """The script as bash takes it: sourced, and its function called as Tab does."""
    (tmp_path / "script").write_text(user("completion", "bash"))
    pressed = (
        'COMP_WORDS=(lading copy --src); COMP_CWORD=2; _lading_completion lading --src copy; echo "${COMPREPLY[@]}"'
    )
    done = run(["bash", "-c", f". {tmp_path}/script; {pressed}"], environment=user.shell)
    assert done.stdout.split() == ["--src-plain-http", "--src-insecure"]
    assert done.stderr == ""


def test_files_and_images_of_this_machine_are_completed(user: User, tmp_path: Path) -> None:
    def offered(*words: str) -> list[str]:
        asked = {"_LADING_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["lading", *words])}
        return User(user.home, **asked, COMP_CWORD=str(len(words))).run().stdout.split()

    assert offered("rmi", "te") == []
    assert not user.store.exists()
    user("copy", f"oci:{images.write_layout(tmp_path / 'x', {'x': images.image('x')})}", "local:team/app:1")
    assert offered("rmi", "te") == offered("tag", "te") == ["plain,team/app:1"]
    assert offered("push", "te") == ["file,te", "plain,team/app:1"]
    assert offered("pull", "--output", "te") == ["file,te"]


def test_fish_completes(user: User) -> None:
    """fish itself says what Tab would offer, with the words that explain it."""
    folder = Path(user.environment["XDG_CONFIG_HOME"]) / "fish" / "completions"
    folder.mkdir(parents=True)
    (folder / "lading.fish").write_text(user("completion", "fish"))
    done = run(["fish", "-c", 'complete -C "lading pu"; complete -C "lading copy --src"'], environment=user.shell)
    offered = [line.partition("\t") for line in done.stdout.splitlines()]
    assert {name for name, _, _ in offered} == {"pull", "push", "--src-plain-http", "--src-insecure"}
    assert all(why for _, _, why in offered)
    assert done.stderr == ""


_PRESSED = r"""
zmodload zsh/zpty
zpty terminal 'zsh -f -i'
zpty -w terminal "PS1= fpath=($1 \$fpath); stty cols 200; autoload -Uz compinit; compinit -D -u; print rea''dy"
zpty -r terminal line '*ready*'
zpty -n -w terminal $'lading compl\t'
zpty -r terminal line '*etion*'
zpty -n -w terminal $'\x15lading copy --src-p\t'
zpty -r terminal line '*lain-http*'
print completed
"""


def test_zsh_completes(user: User, tmp_path: Path) -> None:
    """zsh on a terminal of its own, with the script where its documentation wants it, and Tab pressed twice: it adds the rest."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_lading").write_text(user("completion", "zsh"))
    (tmp_path / "pressed").write_text(_PRESSED)
    done = run(["zsh", "-f", str(tmp_path / "pressed"), str(tmp_path / "functions")], environment=user.shell)
    assert done.stdout == "completed\n"
