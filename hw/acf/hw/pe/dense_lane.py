"""One MAC lane without skipping, with what the lanes of a tile share."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import FabricConfig
from acf.hw.pe.issue import lane_entry
from acf.hw.pe.lockstep_issue import LockstepIssue
from acf.hw.pe.lockstep_lane import LockstepLane

__all__ = ["DenseLane"]


class DenseLane(wiring.Component):
    """A tile's worth of control with a single lane: what ``Lane`` is to be compared with.

    A product for every used slot of every entry; sums are those of ``Lane``. The first product of an entry is issued
    two cycles after the entry was taken.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    entry, sampled, used, hazard, idle
        Those of ``LockstepIssue``.
    swept : Out(1)
        A product waits because an accumulator is swept or an operand is looked up.
    load, sweep, accumulator, look_up, look_up_row, look_up_slot, nonzero, clearing, issued, effectual, flags,
    unit
        Those of ``LockstepLane``.
    """

    entry: stream.Interface

    def __init__(self, *, config: FabricConfig):
        self._config = config
        self._issue = LockstepIssue(lane=config.lane)
        self._lane = LockstepLane(config=config)
        members = dict(self._lane.signature.members)
        for name in ("products", "used", "holds"):
            del members[name]
        super().__init__(
            {
                "entry": In(stream.Signature(lane_entry(lane=config.lane))),
                "sampled": In(1),
                "used": In(config.lane.slots),
                "hazard": Out(1),
                "swept": Out(1),
                "idle": Out(1),
                **members,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.issue = issue = self._issue
        m.submodules.lane = lane = self._lane
        connect(m, flipped(self.entry), issue.entry)
        connect(m, issue.products, lane.products)
        connect(m, flipped(self.load), lane.load)
        connect(m, flipped(self.sweep), lane.sweep)
        m.d.comb += [
            issue.sampled.eq(self.sampled),
            issue.used.eq(self.used),
            issue.hold.eq(lane.holds),
            lane.used.eq(self.used),
            self.hazard.eq(issue.hazard),
            self.swept.eq(issue.swept),
            self.idle.eq(issue.idle),
            *(getattr(lane, name).eq(getattr(self, name)) for name in ("look_up", "look_up_row", "look_up_slot")),
            *(
                getattr(self, name).eq(getattr(lane, name))
                for name in ("accumulator", "nonzero", "clearing", "issued", "effectual", "flags")
            ),
        ]
        if self._config.lane.number_format.scaled:
            m.d.comb += lane.unit.eq(self.unit)
        return m
