"""Drives a lane and follows it with the model."""

from collections.abc import Callable, Iterable

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from acf.hw.formats import mac_latency, mac_loop
from acf.hw.pe.accumulator_bank import clearing_cycles
from acf.hw.pe.issue import lane_entry
from acf.isa import unit_exponent
from acf.tb.lane_model import ColumnModel, Entry
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSource, always, pack, wait_until

__all__ = ["LaneBench"]


class LaneBench:
    """Drives a lane and follows it with the model."""

    def __init__(self, dut, *, use: Callable[[], bool] = always):
        self.dut = dut
        self.config = bench_config()
        self.lane = self.config.lane
        self.model = ColumnModel(self.lane, self.lane.slots)
        # Cycles that two products of one accumulator are apart at least.
        self.distance = mac_loop(format=self.lane.format) + 3
        # Cycles from the issue of a product until its sum is written, and in which an urgent sweep is made to wait.
        self.duration = mac_latency(format=self.lane.format) + 3
        self.patience = self.duration - self.distance
        self.layout = lane_entry(lane=self.lane)
        self.dense = not self.lane.skipping
        self.row_bank: int | None = None
        masked = ("load_mask_enable", "load_mask", "dense") if self.lane.skipping else ("look_up_row", "look_up_slot")
        for port in ("load_enable", "load_row", "load_slot", "load_value", "sampled", "look_up", *masked):
            getattr(dut, port).value = 0
        for port in ("sweep_read", "sweep_row", "sweep_slot", "sweep_urgent"):
            getattr(dut, port).value = 0
        dut.used.value = (1 << self.lane.slots) - 1
        self.one = 0x3F80 if self.lane.number_format.narrows else 1
        if self.lane.number_format.scaled:
            dut.unit.value = 0
        self.entries = StreamSource(dut, "entry", use=use)
        self.cycle = 0
        self.start_watching()
        self._watcher = cocotb.start_soon(self._watch())

    def stop(self):
        """Stop watching and sending."""
        self._watcher.cancel()
        self.entries.stop()

    def start_watching(self):
        self.taken: list[int] = []
        self.issued: list[int] = []
        self.effectual = 0
        self.hazards = 0
        self.swept = 0
        self.together = 0
        self.flags = 0
        self.idle_since: int | None = None
        self.model.start_counting()

    async def _watch(self):
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            if int(dut.entry_valid.value) and int(dut.entry_ready.value):
                self.taken.append(self.cycle)
            if int(dut.issued.value):
                self.issued.append(self.cycle)
            states = int(dut.issued.value) + int(dut.hazard.value) + int(dut.swept.value)
            assert states <= 1, "a product both issued and waiting, or waiting for two things"
            self.together += int(dut.issued.value) and int(dut.sweep_taken.value)
            # Without skipping a product is known to be effectual when its operands have been read.
            earlier = self.cycle - (0 if self.lane.skipping else 2)
            assert earlier in self.issued[-3:] or not int(dut.effectual.value), "effectual without a product"
            self.effectual += int(dut.effectual.value)
            self.hazards += int(dut.hazard.value)
            self.swept += int(dut.swept.value)
            self.flags |= int(dut.flags.value)
            if not int(dut.idle.value):
                self.idle_since = None
            elif self.idle_since is None:
                self.idle_since = self.cycle
            self.cycle += 1

    async def load(self, row: int, bits: Iterable[int], *, use: Callable[[], bool] = always):
        """Write an operand row, counted through all banks."""
        bits = list(bits)
        for slot, value in enumerate(bits):
            while not use():
                self.dut.load_enable.value = 0
                await RisingEdge(self.dut.clk)
            self.dut.load_enable.value = 1
            self.dut.load_row.value = row
            self.dut.load_slot.value = slot
            self.dut.load_value.value = value
            await RisingEdge(self.dut.clk)
        self.dut.load_enable.value = 0
        self.model.load(row, bits)
        if self.lane.skipping:
            self.dut.load_mask_enable.value = 1
            zeros = self.model.golden.is_zero(self.model.from_bits(bits))
            self.dut.load_mask.value = sum(int(not zero) << slot for slot, zero in enumerate(zeros))
            await RisingEdge(self.dut.clk)
            self.dut.load_mask_enable.value = 0

    async def sweep(self, row: int, *, urgent: Callable[[], bool] = always) -> list[int]:
        """Read an accumulator row, which is +0 then."""
        dut = self.dut
        got = []
        for slot in range(self.lane.slots):
            dut.sweep_read.value = 1
            dut.sweep_row.value = row
            dut.sweep_slot.value = slot
            taken, waited = False, 0
            while not taken:
                dut.sweep_urgent.value = int(urgent())
                await FallingEdge(dut.clk)
                taken = bool(int(dut.sweep_taken.value))
                waited = waited + 1 if int(dut.sweep_urgent.value) and not taken else 0
                assert waited <= self.patience, "not at once"
                await RisingEdge(dut.clk)
            dut.sweep_read.value = 0
            await FallingEdge(dut.clk)
            got.append(int(dut.accumulator.value))
            assert int(dut.clearing.value), "it is not +0 yet"
            await RisingEdge(dut.clk)
        dut.sweep_urgent.value = 0
        return got

    async def clear_all(self):
        """Set all accumulators to +0, one a cycle."""
        dut = self.dut
        dut.sweep_read.value = 1
        dut.sweep_urgent.value = 0
        for row in range(self.lane.accumulator_rows):
            for slot in range(self.lane.slots):
                dut.sweep_row.value = row
                dut.sweep_slot.value = slot
                await RisingEdge(dut.clk)
            self.model.clear(row)
        dut.sweep_read.value = 0
        await self.settle()

    async def settle(self):
        """Wait until what was swept is +0."""
        for _ in range(self.distance):
            await FallingEdge(self.dut.clk)
            if not int(self.dut.clearing.value):
                break
        assert not int(self.dut.clearing.value)
        await RisingEdge(self.dut.clk)

    async def set_up(self, *, dense: bool, used: int | None = None, row_bank: int | None = None):
        """Switch skipping, columns and mode while the lane is idle; with a row bank the mode is SAMPLED.

        Where there is no skipping it is off whatever ``dense`` says, and used are as many slots from slot 0 on.
        """
        used = (1 << self.lane.slots) - 1 if used is None else used
        if not self.lane.skipping:
            used = (1 << used.bit_count()) - 1
        self.dense = dense or not self.lane.skipping
        self.row_bank = row_bank
        self.dut.sampled.value = int(row_bank is not None)
        if self.lane.skipping:
            self.dut.dense.value = int(dense)
        self.dut.used.value = used
        self.model.used[:] = [used >> slot & 1 for slot in range(self.lane.slots)]
        await RisingEdge(self.dut.clk)

    async def set_unit(self, field: int):
        """Change what the last bit of accumulators weighs, while the lane is idle and they are +0."""
        self.dut.unit.value = field
        self.model.golden = self.model.golden.with_unit(unit_exponent(field))
        await RisingEdge(self.dut.clk)

    def send(self, entries: list[Entry], *, bank: int = 0, wave: int = 0):
        """Queue entries of a wave and carry them out in the model."""
        for entry in entries:
            row = bank * self.lane.operand_rows + entry.row
            if self.row_bank is None:
                self.model.add(entry, bank=bank, dense=self.dense)
                fields = {"value": entry.value, "row": row, "accumulator": entry.accumulator * self.lane.slots}
            else:
                self.model.add_sampled(entry, bank=bank, row_bank=self.row_bank, dense=self.dense)
                even, odd = sorted([(bank, row), (self.row_bank, self.row_bank * self.lane.operand_rows + entry.value)],
                                   key=lambda place: place[0] % 2)  # fmt: skip
                fields = {"value": odd[1], "row": even[1], "accumulator": entry.accumulator}
            self.entries.send([pack(self.layout, **fields, wave=wave)])

    async def finish(self, *, cycles: int = 20000):
        """Wait until everything sent is written."""
        dut = self.dut
        await wait_until(dut, lambda: self.entries.idle, cycles=cycles, pending=lambda: "entries")
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        for _ in range(cycles):
            if int(dut.idle.value):
                break
            await FallingEdge(dut.clk)
        assert int(dut.idle.value), "the lane stays busy"
        await RisingEdge(dut.clk)

    async def check(self):
        """Compare all accumulators, which are +0 then, and the counts."""
        for row in range(self.lane.accumulator_rows):
            await self.check_row(row)
        await self.settle()
        assert len(self.issued) == self.model.issued.sum(), "products issued"
        assert self.effectual == self.model.effectual.sum(), "effectual products"
        assert self.flags == self.model.raised, "flags"

    async def check_row(self, row: int, *, urgent: Callable[[], bool] = always):
        """Compare an accumulator row, which is +0 then."""
        got, want = await self.sweep(row, urgent=urgent), self.model.row_bits(row)
        assert got == want, f"accumulator row {row}: {_hex(got)}, not {_hex(want)}"
        self.model.clear(row)
        for _ in range(clearing_cycles(lane=self.lane)):
            await RisingEdge(self.dut.clk)


def _hex(values):
    return [f"{value:08x}" for value in values]
