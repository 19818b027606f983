"""What scripts/setup says on machines that lack something. It is given a PATH with nothing else on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASICS = ("sh", "cat", "cksum", "dirname", "mktemp", "rm", "tail", "tee", "sed", "sleep")
TOOLS = ("g++", "make", "perl")


class Machine:
    """A folder with set-up's files, and the programs that its machine has."""

    def __init__(self, folder: Path):
        self.root = folder / "acf"
        self.programs = folder / "bin"
        (self.root / "scripts").mkdir(parents=True)
        self.programs.mkdir()
        for name in ("pyproject.toml", "scripts/setup"):
            shutil.copy(ROOT / name, self.root / name)
        for name in (*BASICS, *TOOLS):
            self.add(name, f'exec {shutil.which(name)} "$@"')
        self.add("python3.11", f'exec {sys.executable} "$@"')

    def add(self, name: str, body: str) -> None:
        (self.programs / name).unlink(missing_ok=True)
        (self.programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.programs / name).chmod(0o755)

    def remove(self, name: str) -> None:
        (self.programs / name).unlink()

    def setup(self) -> tuple[int, str, str]:
        done = subprocess.run(
            ["/bin/sh", str(self.root / "scripts" / "setup")],
            env={"PATH": str(self.programs), "HOME": os.environ["HOME"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("name", TOOLS)
def test_missing_tool_is_said_in_one_line(machine, name):
    machine.remove(name)
    status, out, err = machine.setup()
    assert status == 1
    assert out == ""
    assert err == f"setup: missing on this machine: {name} (Debian, Ubuntu: apt-get install {name})\n"
    assert not (machine.root / ".venv").exists()


def test_everything_that_is_missing_is_said_at_once(machine):
    for name in (*TOOLS, "python3.11"):
        machine.remove(name)
    _, _, err = machine.setup()
    assert err.startswith("setup: missing on this machine: python3.11 g++ make perl (")


@pytest.mark.parametrize(
    ("name", "body", "missing"),
    [
        ("python3.11", "exit 1", "python3.11"),
        ("python3.11", f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"', "python3-venv"),
        ("perl", "exit 2", "perl"),
    ],
)
def test_tool_that_does_not_do_is_missing(machine, name, body, missing):
    machine.add(name, body)
    status, _, err = machine.setup()
    assert status == 1
    assert err.startswith(f"setup: missing on this machine: {missing} (")


def test_failing_step_shows_why(machine):
    machine.add(
        "python3.11", f'case "$*" in *venv\\ --clear*) echo no room >&2; exit 1;; esac; exec {sys.executable} "$@"'
    )
    status, out, err = machine.setup()
    assert status == 1
    assert "[1/4] making .venv" in out
    assert err.splitlines()[0] == "no room"
    assert "setup: failed: python3.11 -m venv" in err


def test_environment_that_is_up_to_date_is_left_alone(machine):
    checksums = [
        subprocess.run(["cksum"], input=(machine.root / name).read_bytes(), capture_output=True, check=True)
        for name in ("pyproject.toml", "scripts/setup")
    ]
    stamp = machine.root / ".venv" / "acf-stamp"
    (machine.root / ".venv" / "bin").mkdir(parents=True)
    (machine.root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp.write_text(" ".join([*(done.stdout.decode().strip() for done in checksums), str(machine.root)]) + "\n")
    machine.remove("g++")  # would be said, if set-up looked
    assert machine.setup() == (0, "", "")

    with (machine.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    status, _, err = machine.setup()
    assert status == 1
    assert "missing on this machine: g++" in err
