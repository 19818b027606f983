"""What documentation states is what the definitions and the kept results say."""

import subprocess
import sys
from pathlib import Path

import pytest

from acf.isa import VERSION

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"


@pytest.mark.parametrize("script", ["document_formats.py", "measure.py", "measure_formats.py", "measure_training.py"])
def test_tables_are_up_to_date(script):
    check = subprocess.run([sys.executable, str(SCRIPTS / script), "--check"], capture_output=True, text=True)
    assert check.returncode == 0, f"run scripts/{script}: {check.stdout}{check.stderr}"


def test_version_of_programs():
    assert f"the version of the format (now {VERSION})" in (ROOT / "docs" / "program.md").read_text()
