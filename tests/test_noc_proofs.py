"""Formal proofs of the network's parts, and that each of them fails where there is a bug."""

import pytest

from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.group_port import GroupPort
from acf.tb.group_harness import GroupPortHarness
from acf.tb.link_harnesses import ArbiterHarness
from acf.tb.noc_proofs import PROOFS, main, run_proof
from acf.tb.proof import ProofError, planted, prove

NAMES = [
    pytest.param(name, marks=[] if proof.is_induction else [pytest.mark.regress, pytest.mark.timeout(2000)])
    for name, proof in PROOFS.items()
]


@pytest.mark.parametrize("name", NAMES)
def test_proved(name):
    verdict = run_proof(name)
    assert verdict.status == "proved", verdict.failed


@pytest.mark.parametrize("name", NAMES)
def test_bug_is_found(name):
    verdict = run_proof(name, with_bug=True)
    assert verdict.status == "refuted"
    assert verdict.failed


@pytest.mark.regress
@pytest.mark.timeout(2000)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("left.eq(waiting & ~grants)", "left.eq(waiting & ~grants & ~(grants << 1))", id="lost"),
        pytest.param("branch.is_claim.eq(is_claiming & behind)", "branch.is_claim.eq(0)", id="head too early"),
        pytest.param("has_all.eq(grants.any())", "has_all.eq(0)", id="claims for ever"),
        pytest.param("order = fork_order(is_column)", "order = fork_order(not is_column)", id="order of claims"),
        pytest.param("self.freed[channel].eq(leaves)", "self.freed[channel].eq(leaves & ~arrives)", id="credit lost"),
        pytest.param("branch.is_tail[0].eq(front.is_tail)", "branch.is_tail[0].eq(front.is_head)", id="interleaved"),
        pytest.param("Mux(self.flit.head, of_head", "Mux(self.flit.tail, of_head", id="fork of a body"),
    ],
)
def test_other_bugs_of_groups_are_found(old, new):
    harness = GroupPortHarness(planted(GroupPort, old, new))
    assert prove(harness, depth=PROOFS["group port"].depth, is_induction=False).status == "refuted"


def test_wrong_names_are_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["noc_proofs", "--json", "porter"])
    with pytest.raises(SystemExit, match=r"proofs must be among arbiter, .*, not 'porter'"):
        main()


def test_time_is_limited():
    with pytest.raises(ProofError, match=r"no answer of the prover after 0\.01 s"):
        prove(ArbiterHarness(), depth=3, is_induction=True, timeout=0.01)


def test_bug_must_have_a_place():
    with pytest.raises(ValueError, match="'no such text' is 0 times in LeastRecentArbiter, not once"):
        planted(LeastRecentArbiter, "no such text", "")
    with pytest.raises(ValueError, match=r"'grants' is [0-9]+ times"):
        planted(LeastRecentArbiter, "grants", "")
