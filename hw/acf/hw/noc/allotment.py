"""How an input of a router offers its flits to outputs, in several rounds within a cycle, and which one goes.

In each round an input offers the flit of one of its virtual channels to one output. The rounds are made one after the
other, or all at once, which takes less time and serves a little less well.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal

from acf.hw.noc.arbiter import LeastRecentArbiter
from acf.hw.noc.input_port import picked

__all__ = ["Candidates", "allot_at_once", "allot_in_turn"]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The flits at the fronts of an input's buffers, one for each virtual channel.

    Parameters
    ----------
    branches : sequence of ``channel_source_signature``
        By output.
    wanted : sequence of sequences of Value
        By virtual channel and output: the virtual channel that the flit gets there, one bit; looked at where the flit
        is offered.
    offers : callable
        ``f(round)``: by virtual channel and output, whether the flit is offered there in that round; one output at
        most.
    are_tails : sequence of Value
        Whether the flit is the last of its packet.
    will_be_there : sequence of Value
        Whether there is a flit in the next cycle if none leaves in this one.
    are_urgent : sequence of Value or None
        Whether the flit goes before others that are not; None where none does.
    """

    branches: Sequence[Any]
    wanted: Sequence[Sequence[Any]]
    offers: Callable[[int], list[list[Any]]]
    are_tails: Sequence[Any]
    will_be_there: Sequence[Any]
    are_urgent: Sequence[Any] | None = None

    def foremost(self, asks: Sequence[Any], channels: Sequence[int]) -> Any:
        """Those of the virtual channels that ask which are urgent, or all of them where none is."""
        if self.are_urgent is None:
            return Cat(asks)
        urgent = Cat(ask & self.are_urgent[k] for ask, k in zip(asks, channels, strict=True))
        return Mux(urgent.any(), urgent, Cat(asks))

    def answer(self, m: Module, number: int, picks: Sequence[Any], channels: Sequence[int]) -> None:
        """Say what becomes of the flit of that one of ``channels`` which is picked, where it is granted."""
        for b, branch in enumerate(self.branches):
            m.d.comb += [
                branch.channels[number].eq(picked(picks, [self.wanted[k][b] for k in channels])),
                branch.is_tail[number].eq(picked(picks, [self.are_tails[k] for k in channels])),
            ]

    def mark(self, m: Module, number: int, picks: Sequence[Any], channels: Sequence[int]) -> None:
        """Say whether the flit that is picked for a round is urgent."""
        if self.are_urgent is not None:
            is_urgent = picked(picks, [self.are_urgent[k] for k in channels])
            m.d.comb += [branch.is_urgent[number].eq(is_urgent) for branch in self.branches]


def allot_in_turn(m: Module, flits: Candidates, *, rounds: int) -> tuple[Any, Any, Any]:
    """Round after round: who got nothing makes another offer, where nobody has got anything yet.

    Each round picks the virtual channel that has waited longest.

    Returns
    -------
    chosen, leaves, taken : Value
        The virtual channel that was picked last, one bit; the same where its flit goes, else 0; to which output.
    """
    count = len(flits.wanted)
    chosen, leaves = Signal(count, name="chosen"), Signal(count, name="leaves")
    grants = [Cat(branch.grant[n] for branch in flits.branches) for n in range(rounds)]
    m.d.comb += leaves.eq(Mux(Cat(grants).any(), chosen, 0))

    m.submodules.chooser = chooser = LeastRecentArbiter(count=count, rounds=rounds)
    m.d.comb += chooser.used.eq(leaves)
    is_left = Const(1)
    final = chooser.grants[0]
    for n, picks in enumerate(chooser.grants):
        offers = flits.offers(n)
        asks = [Cat(offers[channel]).any() & is_left for channel in range(count)]
        m.d.comb += chooser.requests[n].eq(flits.foremost(asks, range(count)))
        for b, branch in enumerate(flits.branches):
            m.d.comb += branch.request[n].eq(Cat(offers[k][b] & picks[k] for k in range(count)).any())
        flits.mark(m, n, picks, range(count))
        if n:
            final = Mux(is_left, picks, final)
        is_left &= ~grants[n].any()
    m.d.comb += chosen.eq(final)
    flits.answer(m, 0, chosen, range(count))
    return chosen, leaves, Cat(Cat(branch.grant).any() for branch in flits.branches)


def allot_at_once(m: Module, flits: Candidates, *, rounds: int) -> tuple[Any, Any, Any]:
    """All rounds together: virtual channels are dealt to as many parts, and each has a round, whatever comes of others.

    Parts have the first round in turn: behind the part that was served, or the one that had it in vain, comes the next
    one with a flit; a part with an urgent flit goes before. What is granted in one round goes unless something of an
    earlier one does.

    Returns
    -------
    chosen, leaves, taken : Value
        As ``allot_in_turn``, the first two being the same.
    """
    count = len(flits.wanted)
    branches = flits.branches
    parts = [range(count)[n::rounds] for n in range(rounds)]
    turns = Signal(rounds, name="turns", init=1)  # whose turn it is, one bit
    first = turns  # the part that has the first round
    if flits.are_urgent is not None:
        urgent = Cat(Cat(flits.are_urgent[k] for k in part).any() for part in parts)
        first = Signal(rounds, name="first")
        m.d.comb += first.eq(Mux(urgent.any(), urgent & -urgent, turns))
    grants, are_left = Signal(rounds, name="grants"), Signal(rounds, name="are_left")
    m.d.comb += grants.eq(Cat(Cat(branch.grant[n] for branch in branches).any() for n in range(rounds)))
    m.d.comb += are_left.eq(Cat(~grants[:n].any() for n in range(rounds)))
    offers = flits.offers(0)
    leaves, served = Signal(count, name="leaves"), Signal(rounds, name="served")
    of_parts = []
    for n, part in enumerate(parts):
        # This part has round k where the part k before it has the first one.
        leads = [first[(n - k) % rounds] for k in range(rounds)]
        m.d.comb += served[n].eq(picked(leads, [grants[k] & are_left[k] for k in range(rounds)]))
        picks = [Const(1)]
        if len(part) > 1:
            m.submodules[f"chooser_{n}"] = chooser = LeastRecentArbiter(count=len(part))
            picks = list(chooser.grants[0])
            m.d.comb += [
                chooser.requests[0].eq(flits.foremost([Cat(offers[k]).any() for k in part], part)),
                chooser.used.eq(Mux(served[n], chooser.grants[0], 0)),
            ]
        m.d.comb += [leaves[k].eq(served[n] & pick) for k, pick in zip(part, picks, strict=True)]
        of_parts.append(picks)

    for n in range(rounds):
        # Which part has this round, by the one that has the first. A choice by one bit of several is less than a sum of
        # products: who has no flit asks for nothing.
        order = [(n + k) % rounds for k in range(rounds)]
        for b, branch in enumerate(branches):
            asks = [
                Cat(offers[channel][b] & pick for channel, pick in zip(parts[part], of_parts[part], strict=True)).any()
                for part in order
            ]
            m.d.comb += [branch.request[n].eq(picked(first, asks)), branch.is_left[n].eq(are_left[n])]
        picks = Signal(count, name=f"picks_{n}")
        m.d.comb += picks.eq(Cat(first[k] & pick for k in range(rounds) for pick in of_parts[order[k]]))
        channels = [channel for part in order for channel in parts[part]]
        flits.answer(m, n, picks, channels)
        flits.mark(m, n, picks, channels)

    # Which part is served is known last in the cycle: it only selects. That its flit may have been the last one in the
    # part does not matter, as the part is last in turn then.
    stays = Signal(rounds, name="stays")
    m.d.comb += stays.eq(Cat(Cat(flits.will_be_there[k] for k in part).any() for part in parts))
    following = []
    for n in range(rounds):
        behind = [(n + 1 + k) % rounds for k in range(rounds - 1)]
        found = Signal(rounds, name=f"behind_{n}")
        m.d.comb += found[n].eq(~Cat(stays[part] for part in behind).any())
        m.d.comb += [
            found[part].eq(stays[part] & ~Cat(stays[before] for before in behind[:k]).any())
            for k, part in enumerate(behind)
        ]
        following.append(Mux(served[n] | (first[n] & ~served.any()), found, 0))
    m.d.sync += turns.eq(functools.reduce(operator.or_, following))
    taken = Cat(Cat(branch.grant[n] & are_left[n] for n in range(rounds)).any() for branch in branches)
    return leaves, leaves, taken
