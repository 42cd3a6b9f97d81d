"""The htpasswd file: what is in it, when it changes, and making one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest

from lading.access.accounts import AccountsFile, parse, provision
from lading.errors import ConfigurationError
from tests.support.access import write_htpasswd
from tests.support.logs import capture_logs
from tests.support.packages import program
from tests.unit.access.makers import Clock

HASH = b"$2y$05$" + b"a" * 53


def test_lines_comments_and_blanks() -> None:
    accounts = parse(b"# users\n\nalice:" + HASH + b"\n  bob:" + HASH.replace(b"2y", b"2a") + b"  \r\n#carol:x\n")
    assert accounts.hashes == {"alice": HASH, "bob": HASH.replace(b"2y", b"2a")}
    assert accounts.refused == ()


@pytest.mark.parametrize("form", [b"$2y$05$", b"$2a$12$", b"$2b$31$", b"$2y$04$"])
def test_forms_of_bcrypt(form: bytes) -> None:
    assert parse(b"a:" + form + b"a" * 53).hashes


@pytest.mark.parametrize(
    "stored",
    [
        b"$apr1$/jlMkKgK$yl.3gTDYZ0O2oyIHHjg7z1",
        b"{SHA}oPFJCiDQIRyZe0S8NX4Zct6riuM=",
        b"plain",
        b"",
        b"$2y$05$" + b"a" * 52,
        b"$2y$05$" + b"a" * 54,
        b"$2y$03$" + b"a" * 53,
        b"$2y$32$" + b"a" * 53,
        b"$2x$05$" + b"a" * 53,
        HASH + b":comment",
    ],
)
def test_other_hashes_refuse_that_user_and_no_other(stored: bytes) -> None:
    accounts = parse(b"alice:" + HASH + b"\nbob:" + stored + b"\n")
    assert set(accounts.hashes) == {"alice"}
    (sentence,) = accounts.refused
    assert "line 2" in sentence
    assert "'bob'" in sentence
    assert "htpasswd -B" in sentence
    assert not stored or stored.decode() not in sentence


@pytest.mark.parametrize("line", [b"alice", b":" + HASH, b"\xff\xfe:" + HASH, b"\x00"])
def test_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(ValueError, match="line 2 is not of the form user:hash"):
        parse(b"alice:" + HASH + b"\n" + line)


def test_the_last_of_two_lines_for_one_user_counts() -> None:
    other = HASH[:-1] + b"b"
    assert parse(b"a:" + HASH + b"\na:" + other).hashes == {"a": other}
    assert parse(b"a:" + HASH + b"\na:plain").hashes == {}


def test_dummies_cost_what_the_users_cost_and_fit_no_password() -> None:
    accounts = parse(b"\n".join(b"user%d:$2y$%02d$%b" % (n, 4 + n % 2, b"a" * 53) for n in range(4)))
    assert [dummy[4:6] for dummy in accounts.dummies] == [b"04", b"05", b"04", b"05"]
    assert not any(bcrypt.checkpw(word, dummy) for dummy in accounts.dummies for word in (b"", b"x"))
    assert len(parse(b"").dummies) == 1


def test_a_file_the_real_htpasswd_wrote(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    tool = program("htpasswd")
    subprocess.run([tool, "-Bbc", path, "alice", "secret"], check=True, capture_output=True)
    subprocess.run([tool, "-BbC", "6", path, "bob", "other"], check=True, capture_output=True)
    subprocess.run([tool, "-b", path, "carol", "md5"], check=True, capture_output=True)
    accounts = parse(path.read_bytes())
    assert set(accounts.hashes) == {"alice", "bob"}
    assert bcrypt.checkpw(b"secret", accounts.hashes["alice"])
    assert "'carol'" in accounts.refused[0]


class TestFollowing:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_htpasswd(tmp_path / "htpasswd", {"alice": "a"})

    def follow(self, path: Path) -> tuple[AccountsFile, Clock]:
        clock = Clock(0)
        return AccountsFile(path, clock=clock), clock

    def test_a_change_is_seen_after_a_second(self, path: Path) -> None:
        file, clock = self.follow(path)
        write_htpasswd(path, {"alice": "a", "bob": "b"})
        clock.now = 0.9
        assert set(file.current().hashes) == {"alice"}
        clock.now = 1.0
        assert set(file.current().hashes) == {"alice", "bob"}

    def test_an_unchanged_file_is_not_read_again(self, path: Path) -> None:
        file, clock = self.follow(path)
        before = file.current()
        clock.now = 5
        assert file.current() is before

    def test_another_file_of_the_same_size_and_time_is_seen(self, path: Path) -> None:
        file, clock = self.follow(path)
        status = path.stat()
        fresh = path.with_name("fresh")
        fresh.write_bytes(path.read_bytes().replace(b"alice", b"carol"))
        os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
        fresh.replace(path)
        clock.now = 1
        assert set(file.current().hashes) == {"carol"}

    @pytest.mark.parametrize("content", [b"broken", b"\xff", b"x" * (16 * 1024 * 1024 + 1), None])
    def test_a_broken_or_vanished_file_changes_nothing_and_is_told_once(
        self, path: Path, content: bytes | None
    ) -> None:
        file, clock = self.follow(path)
        path.unlink() if content is None else path.write_bytes(content)
        with capture_logs() as logs:
            for second in (1, 2, 3):
                clock.now = second
                assert set(file.current().hashes) == {"alice"}
        assert [entry.levelname for entry in logs] == ["ERROR"]
        write_htpasswd(path, {"bob": "b"})
        clock.now = 4
        assert set(file.current().hashes) == {"bob"}

    def test_a_file_that_comes_back_as_it_was_is_used_again(self, path: Path) -> None:
        file, clock = self.follow(path)
        away = path.rename(path.with_name("away"))
        clock.now = 1
        file.current()
        away.rename(path)
        clock.now = 2
        assert set(file.current().hashes) == {"alice"}

    def test_an_emptied_file_lets_nobody_in(self, path: Path) -> None:
        file, clock = self.follow(path)
        path.write_bytes(b"")
        clock.now = 1
        with capture_logs() as logs:
            assert file.current().hashes == {}
        assert "nobody can log in" in logs[-1].msg


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"broken", "line 1"),
        (b"a:plain", "has no user who could log in: line 1"),
    ],
)
def test_a_file_that_cannot_be_used_from_the_start(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "htpasswd"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        AccountsFile(path)
    assert caught.value.problems[0].startswith("auth.htpasswd.path: ")
    assert says in caught.value.problems[0]


def test_an_empty_file_is_taken_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").touch()
    with capture_logs() as logs:
        assert AccountsFile(tmp_path / "htpasswd").current().hashes == {}
    assert [entry.levelname for entry in logs] == ["WARNING"]


class TestProvision:
    def test_makes_a_user_whose_password_it_tells_once(self, tmp_path: Path) -> None:
        path, out = tmp_path / "new" / "htpasswd", io.StringIO()
        with capture_logs() as logs:
            assert provision(path, out)
            assert not provision(path, out)
        (line,) = out.getvalue().splitlines()
        password = line.rsplit(" ", 1)[1]
        assert len(password) >= 40
        assert bcrypt.checkpw(password.encode(), parse(path.read_bytes()).hashes["docker"])
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert [each.name for each in path.parent.iterdir()] == ["htpasswd"]
        assert password not in repr(logs)

    def test_leaves_a_file_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "htpasswd"
        path.write_bytes(b"x")
        assert not provision(path, io.StringIO())
        assert path.read_bytes() == b"x"

    def test_of_several_processes_one_makes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "htpasswd"
        code = f"import pathlib; from lading.access.accounts import provision; provision(pathlib.Path({str(path)!r}))"
        racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
        told = b"".join(racer.communicate(timeout=60)[0] for racer in racers)
        assert [racer.returncode for racer in racers] == [0] * 4
        assert told.count(b"\n") == 1
        password = told.split()[-1]
        assert bcrypt.checkpw(password, parse(path.read_bytes()).hashes["docker"])
        assert [each.name for each in tmp_path.iterdir()] == ["htpasswd"]

    @pytest.mark.parametrize("name", ["file/htpasswd", "x" * 300])
    def test_where_nothing_can_be_made(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigurationError, match=r"auth\.htpasswd\.path: .* cannot be made .*htpasswd -Bc"):
            provision(tmp_path / name, io.StringIO())

    def test_a_link_to_nowhere_is_left_alone(self, tmp_path: Path) -> None:
        path, out = tmp_path / "htpasswd", io.StringIO()
        path.symlink_to(tmp_path / "nowhere")
        assert not provision(path, out)
        assert out.getvalue() == ""
        assert path.is_symlink()
