"""What is proved of the network's parts: ``python -m acf.tb.noc_proofs`` proves all of it, ``--json`` for figures.

With names of ``PROOFS`` it proves these alone.

Each proof comes with a bug, one changed line of the device, that makes it fail. Buffers are small where what is proved
does not depend on their size, and flits have 64 bits as ever: memories stay arrays for the solver.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.channel_sender import ChannelSender
from acf.hw.noc.choosing_port import ChoosingPort
from acf.hw.noc.ejector import EjectorQueue
from acf.hw.noc.group_port import GroupPort
from acf.hw.noc.packet_router import PacketRouter
from acf.tb.group_harness import GroupPortHarness
from acf.tb.link_harnesses import ArbiterHarness, QueueHarness, SenderHarness
from acf.tb.proof import Harness, Verdict, planted, prove
from acf.tb.router_harnesses import PortHarness, RouterHarness

__all__ = ["PROOFS", "Proof", "run_proof"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A proof and a bug that it finds.

    Parameters
    ----------
    what : str
        What is proved.
    harness : callable
        Makes the harness, with the device class as its argument if it is another one.
    device : callable
        The device class, as it is or with a bug.
    parameters : str
        Of the device.
    depth : int
        Cycles.
    is_induction : bool
        Whether it is proved for all times.
    """

    what: str
    parameters: str
    harness: Callable[..., Harness]
    device: Callable[[bool], type]
    depth: int
    is_induction: bool = True


def _device(component: type, old: str, new: str) -> Callable[[bool], type]:
    return lambda with_bug: planted(component, old, new) if with_bug else component


def _with(stages: int) -> str:
    return "" if stages == 1 else f", {stages} stages"


def _port(stages: int, *, depth: int) -> Proof:
    return Proof(
        what="an input hands on flits in order, none is lost or doubled, and only where its packets may go",
        parameters=f"2 virtual channels x 2, xy, onward, 2 rounds{_with(stages)}",
        harness=partial(PortHarness, stages=stages),
        device=_device(
            ChoosingPort, "write_flit.en.eq(self.link.valid)", "write_flit.en.eq(self.link.valid & ~chosen.any())"
        ),
        depth=depth,
        is_induction=False,
    )


def _router(stages: int, *, depth: int) -> Proof:
    def device(with_bug: bool) -> type:
        if not with_bug:
            return PacketRouter
        sender = planted(ChannelSender, "is_free.eq(is_tail)", "is_free.eq(1)")
        return planted(PacketRouter, "rounds=network.offers", "rounds=network.offers", ChannelSender=sender)

    return Proof(
        what="packets of a virtual channel are not interleaved at any output; no receiver is overrun",
        parameters=f"2 virtual channels x 2, xy, onward, 2 rounds{_with(stages)}",
        harness=partial(RouterHarness, stages=stages),
        device=device,
        depth=depth,
        is_induction=False,
    )


def _sender(stages: int) -> Proof:
    return Proof(
        what="credits neither run out nor over; one grant; packets of a virtual channel are not interleaved",
        parameters=f"3 sources, 2 virtual channels x 4, 2 rounds{_with(stages)}",
        harness=partial(SenderHarness, stages=stages),
        device=_device(ChannelSender, "is_free.eq(is_tail)", "is_free.eq(is_tail | (credits.places < 2))"),
        depth=8,
    )


_SENDER_OF_GROUPS = Proof(
    what="the same, and what is claimed is kept without a flit, and offered only while half of the queue is free",
    parameters="3 sources, 2 virtual channels x 4, one of them for groups, 2 rounds",
    harness=partial(SenderHarness, has_claims=True),
    device=_device(ChannelSender, "Mux(said(lambda source, n: source.is_claim), 0, given)", "given"),
    depth=8,
)

_GROUP_PORT = Proof(
    what="an input hands flits for groups to every output of their fork once, in order and not interleaved, frees "
    "their places when all have them, and sends heads when all outputs are claimed",
    parameters="1 virtual channel x 4, 2 groups",
    harness=GroupPortHarness,
    device=_device(GroupPort, "stays.packet.ports.eq(left)", "stays.packet.ports.eq(waiting)"),
    depth=9,
    is_induction=False,
)

PROOFS = {
    "arbiter": Proof(
        what="grants are one-hot and go to requests; the order of turns stays an order",
        parameters="5 requests, 2 rounds",
        harness=ArbiterHarness,
        device=_device(LeastRecentArbiter, "m.d.sync += bit.eq(1)", "m.d.sync += bit.eq(~bit)"),
        depth=8,
    ),
    "queue": Proof(
        what="flits leave in order, none is lost or doubled; credits stay in range",
        parameters="depth 4",
        harness=QueueHarness,
        device=_device(
            EjectorQueue, "stores.eq(self.valid & (stored | ~can_load))", "stores.eq(self.valid & ~can_load)"
        ),
        depth=8,
    ),
    "port": _port(1, depth=9),
    "port of two stages": _port(2, depth=7),
    "router": _router(1, depth=7),
    "router of two stages": _router(2, depth=7),
    "sender": _sender(1),
    "sender of two stages": _sender(2),
    "sender of groups": _SENDER_OF_GROUPS,
    "group port": _GROUP_PORT,
}
"""All proofs, by name."""


def run_proof(name: str, *, with_bug: bool = False) -> Verdict:
    """Prove one of ``PROOFS``, of the device as it is or with its bug."""
    proof = PROOFS[name]
    harness = proof.harness(proof.device(with_bug))
    return prove(harness, depth=proof.depth, is_induction=proof.is_induction)


def main() -> None:
    """Prove everything, or what is named, and that no proof holds with its bug."""
    names = [word for word in sys.argv[1:] if word != "--json"]
    if unknown := [name for name in names if name not in PROOFS]:
        sys.exit(f"proofs must be among {', '.join(PROOFS)}, not {unknown[0]!r}")
    records = []
    for name in names or PROOFS:
        proof = PROOFS[name]
        found, with_bug = run_proof(name), run_proof(name, with_bug=True)
        how = "k-induction" if proof.is_induction else "bounded"
        records.append(
            {
                "proof": name,
                "what": proof.what,
                "device": proof.device(False).__name__,
                "with": proof.parameters,
                "how": how,
                "depth": proof.depth,
                "result": found.status,
                "result_with_bug": with_bug.status,
                "seconds": round(found.seconds, 1),
            }
        )
        if "--json" not in sys.argv:
            print(
                f"{name}: {found.status} ({how}, {proof.depth}), with a bug {with_bug.status}; {proof.what}", flush=True
            )
    if "--json" in sys.argv:
        print(json.dumps({"solver": "yices", "proofs": records}))
    if any((one["result"], one["result_with_bug"]) != ("proved", "refuted") for one in records):
        sys.exit(1)


if __name__ == "__main__":
    main()
