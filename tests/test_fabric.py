"""The fabric with a host and a memory in Python, under Verilator and Icarus.

``make test`` runs it under Icarus, which has nothing in common with the simulator of the ``rtl`` device; what that one
shows is in the tests of the device.
"""

import pytest

from acf.config import preset
from acf.tb.runner import has_icarus, run_bench


@pytest.mark.regress
@pytest.mark.parametrize("format", ["bf16", "bf16x", "int8"])
def test_fabric_verilator(format):
    run_bench("fabric", module="acf.tb.bench_fabric", config=preset("tiny").with_format(format))


@pytest.mark.skipif(not has_icarus(), reason="Icarus Verilog (iverilog) is not installed")
@pytest.mark.parametrize(
    "testcase",
    [
        "skipping_off_has_the_same_bits",
        pytest.param("faults_end_a_program_and_leave_the_fabric_usable", marks=pytest.mark.regress),
    ],
)
def test_fabric_icarus(testcase):
    run_bench("fabric", module="acf.tb.bench_fabric", simulator="icarus", testcase=[testcase])
