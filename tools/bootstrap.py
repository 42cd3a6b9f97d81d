"""Make the virtual environment from the lock: ``python3 tools/bootstrap.py [--dev]``.

Needs nothing but an interpreter: Debian splits ``venv`` and ``pip`` off its ``python3``, so where they are missing
this installs them (as root) or borrows pip's wheel from the Debian archive (as anyone). What is installed comes from
``requirements/*.txt`` alone, as wheels whose hashes are checked; pip finds them wherever its own configuration and
``PIP_*`` say. The project itself is installed in place (editable), without a network.

A stamp inside the environment tells what it was made from and is written last: an interrupted run is done again, and
a run with nothing to do costs some milliseconds. The syntax stays old enough (3.6: no future imports) for an old Python to say it is too old.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the very question
    sys.exit(
        "Lading needs Python 3.11 or newer; {} is {}.{}.\n"
        "Debian 12 and later have one: apt-get install python3. If a newer one is installed beside it, name it: "
        "make setup PYTHON=python3.12".format(sys.executable, *sys.version_info[:2])
    )

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
STAMP = "lading-setup.json"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_PACKAGE = "python3-pip-whl"
DEBIAN_VENV = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


class SetupError(Exception):
    """Something a person must see to; the message says what."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the virtual environment from the lock.")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="DIRECTORY")
    arguments = parser.parse_args()
    directory = Path(os.path.abspath(arguments.venv))  # noqa: PTH100 - resolve() would follow a link named .venv
    parts = ("build", "runtime", "dev") if arguments.dev else ("build", "runtime")
    try:
        if not is_made(directory, parts):
            with one_at_a_time():
                if not is_made(directory, parts):
                    make(directory, parts)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next run begins again", file=sys.stderr)
        return 130
    return 0


# What an environment was made from.


def fingerprints(directory: Path, parts: Sequence[str]) -> dict[str, str]:
    """One entry for everything that, when it changes, changes the environment."""
    return {
        "place": f"{directory} for {ROOT} by {os.path.realpath(sys.executable)} {sys.version.split()[0]}",
        "project": digest(ROOT / "pyproject.toml", ROOT / "src" / "lading" / "__init__.py"),
        **{part: digest(LOCKS / f"{part}.txt") for part in parts},
    }


def digest(*files: Path) -> str:
    try:
        return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    except FileNotFoundError as error:
        raise SetupError(f"{error.filename} is missing: is this a whole checkout of the repository?") from None


def read_stamp(directory: Path) -> dict[str, str]:
    """What ``directory`` was made from; empty when it was not finished, or not made here."""
    try:
        stamp = json.loads((directory / STAMP).read_bytes())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_made(directory: Path, parts: Sequence[str]) -> bool:
    stamp = read_stamp(directory)
    wanted = fingerprints(directory, parts)
    return all(stamp.get(part) == value for part, value in wanted.items()) and (directory / "bin" / "lading").exists()


def write_stamp(directory: Path, stamp: dict[str, str]) -> None:
    scratch = directory / f"{STAMP}.new"
    scratch.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    scratch.replace(directory / STAMP)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two runs at once must not build in the same folder: the second waits, and finds it done."""
    scratch = ROOT / ".tools"
    scratch.mkdir(exist_ok=True)
    with (scratch / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Making it.


def make(directory: Path, parts: Sequence[str]) -> None:
    """Bring ``directory`` from whatever it is to what the lock says, and stamp it."""
    wanted = fingerprints(directory, parts)
    have = read_stamp(directory)
    if any(have.get(part, value) != value for part, value in wanted.items() if part != "project"):
        have = {}  # a lock or the interpreter changed: begin anew, or packages no longer named would stay
    (directory / STAMP).unlink(missing_ok=True)
    if not have or not (directory / "bin" / "python").exists():
        have = {}
        create(directory)
    missing = [part for part in parts if part not in have]
    if missing:
        locks = [LOCKS / f"{part}.txt" for part in missing]
        names = ", ".join(str(lock.relative_to(ROOT)) for lock in locks)
        say(f"installing what {names} name{'s' if len(locks) == 1 else ''}")
        options = [option for lock in locks for option in ("--requirement", str(lock))]
        pip(directory, "--require-hashes", "--only-binary=:all:", *options)
    pip(directory, "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    write_stamp(directory, {**have, **wanted})
    say(f"{directory / 'bin' / 'lading'} is ready")


def create(directory: Path) -> None:
    """An empty environment with pip in it, replacing what was there."""
    say(f"making {directory} with Python {sys.version.split()[0]}")
    if has_ensurepip() or install_venv():
        create_with_ensurepip(directory)
    elif shutil.which("apt-get") and shutil.which("dpkg-deb"):
        if not AUTHORITIES.exists():  # Debian's pip reads them as it starts
            raise SetupError(f"{sys.executable} comes without venv, and {AUTHORITIES} is not there. {advice()}")
        create_with_borrowed_pip(directory)
    else:
        raise SetupError(
            f"{sys.executable} comes without venv and pip, and this is no Debian to get them from.\n"
            "Ask an administrator for Python's venv and ensurepip modules, or name a Python that has them: "
            "make setup PYTHON=…"
        )


def has_ensurepip() -> bool:
    """Whether ``ensurepip`` really has a pip to give (a distribution may ship the module without its wheel)."""
    probe = "import ensurepip, venv; print(ensurepip.version())"
    answer = subprocess.run([sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() != ""


def install_venv() -> bool:
    """As root on Debian: install the package with venv and ensurepip. Says whether they are there now."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say(f"installing Debian's {DEBIAN_VENV}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", DEBIAN_VENV]):
        answer = run(["apt-get", "-qq", *command], env=environment)
        if answer.returncode != 0:
            say(f"apt-get {shlex.join(command)} failed; going on without it:\n{answer.stdout}")
            return False
    return has_ensurepip()


def create_with_ensurepip(directory: Path) -> None:
    empty(directory)
    try:
        venv.EnvBuilder(with_pip=True, symlinks=True).create(directory)
    except subprocess.CalledProcessError as error:
        output = (error.output or b"").decode(errors="replace")
        raise SetupError(f"{sys.executable} -m venv failed:\n{output}") from error


def create_with_borrowed_pip(directory: Path) -> None:
    """Without root: pip's wheel out of Debian's package, unpacked here and installed nowhere else."""
    with tempfile.TemporaryDirectory(prefix="lading-setup-") as name:
        scratch = Path(name)
        say(f"this user cannot install {DEBIAN_VENV}: borrowing pip from Debian's {PIP_PACKAGE}")
        unpack(PIP_PACKAGE, scratch)
        wheels = sorted(scratch.glob("usr/share/python-wheels/pip-*.whl"))
        if not wheels:
            raise SetupError(f"Debian's {PIP_PACKAGE} holds no pip wheel. {advice()}")
        empty(directory)
        venv.EnvBuilder(with_pip=False, symlinks=True).create(directory)
        pip(directory, "--no-index", "--no-deps", str(wheels[-1]), program=[str(wheels[-1] / "pip")])


def unpack(package: str, scratch: Path) -> None:
    """Fetch and unpack a Debian package as any user, with package lists of our own where the machine has none."""
    state = scratch / "apt"
    (state / "lists" / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={state / 'lists'}", "-o", f"Dir::Cache={state}"]
    fetched = run(["apt-get", "-qq", "download", package], cwd=scratch)
    if fetched.returncode != 0:
        run(["apt-get", "-qq", *own, "update"], cwd=scratch)
        fetched = run(["apt-get", "-qq", *own, "download", package], cwd=scratch)
    if fetched.returncode != 0:
        raise SetupError(f"apt-get download {package} failed:\n{fetched.stdout}{advice()}")
    for archive in scratch.glob("*.deb"):
        unpacked = run(["dpkg-deb", "-x", str(archive), str(scratch)])
        if unpacked.returncode != 0:
            raise SetupError(f"{archive.name} does not unpack:\n{unpacked.stdout}")


def advice() -> str:
    return f"Ask an administrator to run: apt-get install {DEBIAN_VENV}"


def pip(directory: Path, *arguments: str, program: Sequence[str] = ("-m", "pip")) -> None:
    """``pip install`` inside the environment; ``program`` is how its Python starts pip."""
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_REQUIRE_HASHES": "0",  # asked for by option where it holds; a folder has no hash
        "PIP_USER": "0",  # "--user" in somebody's pip.conf must not lead out of the environment
    }
    command = [str(directory / "bin" / "python"), "-I", *program, "install", "--quiet", *arguments]
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise SetupError(
            "pip failed, see above; nothing was changed outside the environment, and the next run begins again.\n"
            "Behind a mirror or a proxy, tell pip as usual (pip.conf, PIP_INDEX_URL, HTTPS_PROXY)."
        )


def empty(directory: Path) -> None:
    """Remove an environment, whole or half made, but nothing that is not one."""
    if not directory.exists():
        return
    if not (directory / "pyvenv.cfg").exists() and any(directory.iterdir()):
        raise SetupError(f"{directory} is not empty and no virtual environment: move it away, or name another (VENV=…)")
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "pyvenv.cfg":
            entry.unlink()
    (directory / "pyvenv.cfg").unlink(missing_ok=True)  # last: it marks what is left as ours to remove


def run(
    command: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run and keep what it says, to be shown when it fails."""
    return subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def say(message: str) -> None:
    print(f"setup: {message}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
