"""How the repository is laid out: the parts that a linter does not look at."""

import importlib
import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE_ROOTS = ("hw", "golden", "sim", "sw", "tb")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked_files():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs a git checkout")
    return done.stdout.splitlines()


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_acf_is_a_namespace(root):
    assert (ROOT / root / "acf").is_dir()
    assert not (ROOT / root / "acf" / "__init__.py").exists(), "would hide the other roots"


def test_every_root_is_packaged():
    build = PYPROJECT["tool"]["hatch"]["build"]
    assert set(build["targets"]["wheel"]["packages"]) == {f"{root}/acf" for root in SOURCE_ROOTS}
    assert set(build["dev-mode-dirs"]) == set(SOURCE_ROOTS)


def test_modules_come_from_this_checkout():
    for name, root in [("acf.config", "hw"), ("acf.hw.blocks", "hw"), ("acf.sim.area", "sim"), ("acf.cli.main", "sw")]:
        file = importlib.import_module(name).__file__
        assert file is not None
        assert Path(file).is_relative_to(ROOT / root), f"{name} comes from {file}"


def test_packages_have_a_docstring():
    for root in SOURCE_ROOTS:
        for file in (ROOT / root / "acf").rglob("*.py"):
            first = file.read_text().lstrip().partition("\n")[0]
            assert first.startswith(('"""', 'r"""', "#")), f"{file} does not say what it is"


def test_no_debris_is_tracked():
    wrong = re.compile(r"(~|\.orig|\.rej|\.bak|\.pyc|\.vcd|\.fst|\.saif)$|(^|/)(build|obj_dir|sim_build|\.venv)/")
    assert [name for name in tracked_files() if wrong.search(name)] == []


def test_import_contracts_name_packages_that_exist():
    """A contract on a misspelt package would hold for ever."""
    for contract in PYPROJECT["tool"]["importlinter"]["contracts"]:
        keys = ("modules", "source_modules", "forbidden_modules")
        for name in [name for key in keys for name in contract.get(key, [])]:
            assert importlib.util.find_spec(name) is not None, name


def test_import_contracts_can_break(tmp_path):
    """Truth that looks at the hardware is found: the linter sees into all roots of the namespace."""
    paths = []
    for root in SOURCE_ROOTS:
        for source in (ROOT / root / "acf").rglob("*.py"):
            copy = tmp_path / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.read_text())
        paths.append(str(tmp_path / root))
    (tmp_path / "golden/acf/golden/peek.py").write_text("import acf.hw.blocks\n")
    (tmp_path / "sim/acf/sim/peek.py").write_text("def late():\n    from acf.hw import blocks\n")
    lint = ROOT / ".venv/bin/lint-imports"
    if not lint.exists():
        pytest.skip("needs .venv/bin/lint-imports")
    done = subprocess.run(
        [str(lint), "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "acf.golden.peek -> acf.hw.blocks" in done.stdout
    assert "acf.sim.peek -> acf.hw.blocks" in done.stdout


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text()
    listed = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert listed is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in set(listed.group(1).split()) - {"help", "setup"}:
        assert f"make {target} " in shown
    for target in ("demo", "test", "regress", "lint", "clean"):
        assert target in listed.group(1).split()
