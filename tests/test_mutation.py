"""Planted faults: the benches find them, and what plants them can tell when a bench does not."""

import json
import os
from pathlib import Path

import pytest

from acf.config import preset
from acf.tb import mutation
from acf.tb.mutation import BENCHES, Bench, Observed, Outcome, Report, judge, plant, read_observed
from acf.tb.netlist import Fault, Port, faulty_netlist, wrapper
from acf.tb.runner import build_root

FAULT = Fault(number=3, mode="inv", place="$1 Y portbit 0", signals=("a",), sources=("hw/acf/hw/pe/lane.py:7",))


@pytest.mark.regress
@pytest.mark.parametrize("block", list(BENCHES))
def test_bench_finds_planted_faults(block):
    report = plant(block, faults=12)
    report.save(build_root() / "regress" / f"faults-{block}-tiny-{report.seed}.json")
    assert not report.named("missed"), "\n".join(report.named("missed"))
    assert report.count("caught") >= 10, f"only {report.count('caught')} of the planted faults changed behaviour"


@pytest.mark.regress
@pytest.mark.parametrize("block", ["mac", "lane", "tile"])
def test_bench_finds_planted_faults_in_fixed_point(block):
    report = plant(block, config=preset("tiny").with_format("bf16x"), faults=12)
    assert not report.named("missed"), "\n".join(report.named("missed"))
    assert report.count("caught") >= 10, f"only {report.count('caught')} of the planted faults changed behaviour"


@pytest.mark.regress
def test_a_weak_bench_misses(monkeypatch):
    folder = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    report = plant("mac", bench=Bench(module="weak_bench", env={"ACF_WEAK_CYCLES": "500"}), faults=3, seed=2)
    assert report.count("missed") == 3
    assert report.count("caught") == 0
    assert all("seen at o" in line for line in report.named("missed"))
    assert any("hw/acf/hw/formats/fused.py:" in line for line in report.named("missed"))
    idle = plant("mac", bench=Bench(module="weak_bench", env={"ACF_WEAK_CYCLES": "0"}), faults=1, seed=2)
    assert {outcome.verdict for outcome in idle.outcomes} == {"silent"}


def test_log_is_read():
    observed = read_observed("S 12\nT o 1f\nD 7 H o_valid\nT o 20\nT p 1\nD 9 P o_payload\n")
    assert observed.number == 12
    assert observed.transfers == {"o": ["1f", "20"], "p": ["1"]}
    assert observed.differences == [(7, "H", "o_valid"), (9, "P", "o_payload")]


@pytest.mark.parametrize(
    ("differences", "transfers", "verdict"),
    [
        ([], {"o": ["1"]}, "silent"),
        ([(7, "H", "o_valid")], {"o": ["1", "2"]}, "timing"),
        ([(7, "H", "o_valid"), (8, "P", "o_payload")], {"o": ["1", "2"]}, "timing"),
        ([(7, "H", "o_valid")], {"o": ["1"]}, "missed"),
        ([(7, "H", "o_valid"), (7, "P", "o_payload")], {"o": ["1", "2"]}, "missed"),
        ([(7, "P", "flag")], {"o": ["1", "2"]}, "missed"),
    ],
)
def test_survivors_are_judged(differences, transfers, verdict):
    fault_free = Observed(transfers={"o": ["1", "2"]})
    seen = Observed(differences=differences, transfers=transfers)
    assert judge({"quiet": Observed(), "test": seen}, lambda test: fault_free) == verdict


def test_channels_that_tell_the_time_do_not_count():
    fault_free = Observed(transfers={"o": ["1"], "clock_r": ["40"]})
    for transfers, verdict in [({"o": ["1"], "clock_r": ["41", "50"]}, "timing"), ({"o": ["2"]}, "missed")]:
        seen = {"test": Observed(differences=[(7, "H", "o_valid")], transfers=transfers)}
        assert judge(seen, lambda test: fault_free, timed=("clock_",)) == verdict
        assert judge(seen, lambda test: fault_free) == "missed"


def test_outputs_that_tell_the_time_do_not_count():
    fault_free = Observed(transfers={"o": ["1"]})
    for differences, verdict in [
        ([(7, "P", "busy")], "timing"),
        ([(7, "P", "busy"), (8, "P", "o_payload")], "timing"),
        ([(7, "P", "o_payload"), (8, "P", "busy")], "missed"),
    ]:
        seen = {"test": Observed(differences=differences, transfers={"o": ["1"]})}
        assert judge(seen, lambda test: fault_free, timed=("busy",)) == verdict
        assert judge(seen, lambda test: fault_free) == "missed"
    other = {"test": Observed(differences=[(7, "P", "busy")], transfers={"o": ["2"]})}
    assert judge(other, lambda test: fault_free, timed=("busy",)) == "missed"


@pytest.mark.parametrize(
    ("transfers", "verdict"),
    [
        ({"o": ["2", "1"]}, "order"),
        ({"o": ["1", "2"]}, "timing"),
        ({"o": ["2", "1", "1"]}, "missed"),
        ({"p": ["1", "2"]}, "missed"),
    ],
)
def test_order_counts_only_where_it_is_promised(transfers, verdict):
    fault_free = Observed(transfers={"o": ["1", "2"]})
    seen = {
        "first": Observed(differences=[(7, "P", "o_payload")], transfers=transfers),
        "second": Observed(differences=[(7, "H", "o_valid")], transfers={"o": ["1", "2"]}),
    }
    assert judge(seen, lambda test: fault_free, order_is_free=True) == verdict
    if verdict == "order":
        assert judge(seen, lambda test: fault_free) == "missed"


def test_wrapper_watches_what_counts():
    ports = [
        Port("clk", 1, True),
        Port("rst", 1, True),
        Port("i_payload", 8, True),
        Port("i_valid", 1, True),
        Port("i_ready", 1, False),
        Port("m_axi_arid", 2, False),
        Port("m_axi_araddr", 32, False),
        Port("m_axi_arvalid", 1, False),
        Port("m_axi_arready", 1, True),
        Port("m_axi_rdata", 64, True),
        Port("m_axi_rvalid", 1, True),
        Port("m_axi_rready", 1, False),
        Port("west_o_flit", 66, False),
        Port("west_o_valid", 1, False),
        Port("west_i_credit", 2, False),
        Port("west_i_valid", 1, True),
        Port("busy", 1, False),
    ]
    text = wrapper(ports, top="t", module="m")
    for condition in (
        "!seen__i_ready && i_valid && (i_ready != good__i_ready)",
        "!seen__m_axi_arvalid && (m_axi_arvalid != good__m_axi_arvalid)",
        "!seen__m_axi_arid && m_axi_arvalid && good__m_axi_arvalid && (m_axi_arid != good__m_axi_arid)",
        "!seen__m_axi_rready && m_axi_rvalid && (m_axi_rready != good__m_axi_rready)",
        "!seen__west_o_flit && west_o_valid && good__west_o_valid && (west_o_flit != good__west_o_flit)",
        "!seen__west_i_credit && (west_i_credit != good__west_i_credit)",
        "!seen__busy && (busy != good__busy)",
    ):
        assert condition in text
    assert '"D %0d H west_i_credit\\n"' in text
    assert '"D %0d P busy\\n"' in text
    assert (
        'if (m_axi_arvalid && m_axi_arready) $fwrite(log, "T m_axi_ar %h\\n", {1\'b0, m_axi_arid, m_axi_araddr});'
        in text
    )
    assert 'if (west_o_valid) $fwrite(log, "T west_o %h\\n", {1\'b0, west_o_flit});' in text
    assert text.count("reg seen__west_i_credit") == 1
    assert "T i " not in text
    assert text.count(".mutsel(16'd0)") == text.count(".mutsel(mutsel)") == 1


def test_faults_are_described():
    verilog, faults, ports = faulty_netlist("mac", config=preset("tiny"), faults=20, seed=1, module="m")
    assert "mutsel" in verilog
    assert 15 <= len(faults) <= 20
    assert [fault.number for fault in faults] == sorted({fault.number for fault in faults})
    assert {fault.mode for fault in faults} <= {"inv", "const0", "const1", "cnot0", "cnot1"}
    assert all("CLK" not in fault.place for fault in faults)
    assert any(source.startswith("hw/acf/hw/formats/fused.py:") for fault in faults for source in fault.sources)
    assert {port.name for port in ports} == {"clk", "rst", "x", "y", "a", "enable", "o", "flags"}


def test_report_counts_and_is_saved(tmp_path):
    report = Report(block="lane", config="0123", seed=1, bench="acf.tb.bench_lane")
    report.outcomes = [
        Outcome(FAULT, "caught", caught_by="random_entries"),
        Outcome(FAULT, "missed", differed=("o_valid",)),
        Outcome(FAULT, "silent"),
    ]
    assert report.changing == 2
    assert report.named("missed") == [
        "fault 3: inv at $1 Y portbit 0 (hw/acf/hw/pe/lane.py:7), seen at o_valid",
    ]
    report.save(tmp_path / "regress" / "lane.json")
    saved = json.loads((tmp_path / "regress" / "lane.json").read_text())
    assert saved["counts"] == {"caught": 1, "missed": 1, "order": 0, "timing": 0, "silent": 1}
    assert saved["outcomes"][0]["fault"]["sources"] == ["hw/acf/hw/pe/lane.py:7"]


def test_arguments_are_checked(capsys):
    with pytest.raises(ValueError, match=r"block must be one of mac, .*, lane, .*, not 'lain'"):
        plant("lain")
    with pytest.raises(ValueError, match="faults must be at least 1, not 0"):
        plant("mac", faults=0)
    with pytest.raises(ValueError, match=r"block must be one of mac, .*, not 'macc'"):
        faulty_netlist("macc", config=preset("tiny"), faults=1, seed=1, module="m")
    assert mutation.main(["--block", "mac", "--preset", "huge"]) == 2
    assert "preset must be one of tiny, base, ulx3s, not 'huge'" in capsys.readouterr().err
