"""Addresses of bursts in flight on one AXI ID, so that a bad response can be told with its address."""

from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BurstTracker"]


class BurstTracker(wiring.Component):
    """Counts bursts in flight that are answered in order, and keeps their addresses.

    Parameters
    ----------
    depth : int
        Bursts that may be in flight.
    address_width : int
        Bits of an address.

    Members
    -------
    issue : In(1)
        A burst is sent in this cycle; only while ``ready``.
    issue_address : In(address_width)
    ready : Out(1)
        Another burst may be sent.
    finish : In(1)
        The oldest burst has its last response in this cycle.
    address : Out(address_width)
        Address of the oldest burst.
    idle : Out(1)
        No burst is in flight.

    Raises
    ------
    ValueError
        If ``depth`` is not positive.
    """

    issue: Signal
    issue_address: Signal
    ready: Signal
    finish: Signal
    address: Signal
    idle: Signal

    def __init__(self, *, depth: int, address_width: int):
        if depth <= 0:
            raise ValueError(f"bursts in flight must be at least one, not {depth!r}")
        self._depth = depth
        self._address_width = address_width
        super().__init__(
            {
                "issue": In(1),
                "issue_address": In(address_width),
                "ready": Out(1),
                "finish": In(1),
                "address": Out(address_width),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.addresses = addresses = fifo.SyncFIFO(width=self._address_width, depth=self._depth)
        m.d.comb += [
            addresses.w_en.eq(self.issue),
            addresses.w_data.eq(self.issue_address),
            self.ready.eq(addresses.w_rdy),
            addresses.r_en.eq(self.finish),
            self.address.eq(addresses.r_data),
            self.idle.eq(~addresses.r_rdy),
        ]

        return m
