"""Formal proofs of the network's parts, and that each of them fails where there is a bug."""

import pytest

from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.tb.link_harnesses import ArbiterHarness
from acf.tb.noc_proofs import PROOFS, run_proof
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


def test_time_is_limited():
    with pytest.raises(ProofError, match=r"no answer of the prover after 0\.01 s"):
        prove(ArbiterHarness(), depth=3, is_induction=True, timeout=0.01)


def test_bug_must_have_a_place():
    with pytest.raises(ValueError, match="'no such text' is 0 times in LeastRecentArbiter, not once"):
        planted(LeastRecentArbiter, "no such text", "")
    with pytest.raises(ValueError, match=r"'grants' is [0-9]+ times"):
        planted(LeastRecentArbiter, "grants", "")
