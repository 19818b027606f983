"""Operand banks for every number of banks, in Amaranth's simulator."""

import random

import pytest
from amaranth.sim import Simulator

from acf.config import LaneConfig
from acf.hw.pe.operand_bank import OperandBank


@pytest.mark.parametrize("format", ["bf16", "int8"])
@pytest.mark.parametrize("banks", [1, 2, 4])
def test_reads_alone_and_in_pairs(banks, format):
    rng = random.Random(banks)
    lane = LaneConfig(format=format, slots=4, operand_rows=8, operand_banks=banks)
    dut = OperandBank(lane=lane)
    zeros = [0, 0x8000] if format == "bf16" else [0]
    written = {}

    def mask(row):
        return sum(int(value not in zeros) << slot for slot, value in enumerate(written[row]))

    def pick(parity=None):
        """A row of any bank, or of those of one parity."""
        bank = rng.choice([bank for bank in range(banks) if parity in (None, bank % 2)])
        return bank * lane.operand_rows + rng.randrange(lane.operand_rows)

    async def bench(ctx):
        for row in range(banks * lane.operand_rows):
            width = lane.number_format.operand_width
            written[row] = [rng.choice([*zeros, rng.getrandbits(width)]) for _ in range(lane.slots)]
            for slot, value in enumerate(written[row]):
                ctx.set(dut.write.enable, 1)
                ctx.set(dut.write.row, row)
                ctx.set(dut.write.slot, slot)
                ctx.set(dut.write.value, value)
                await ctx.tick()
            ctx.set(dut.write.enable, 0)
            ctx.set(dut.write.mask_enable, 1)
            ctx.set(dut.write.mask, mask(row))
            await ctx.tick()
            ctx.set(dut.write.mask_enable, 0)
        for _ in range(200):
            paired, mask_paired = (banks > 1 and rng.random() < 0.5 for _ in range(2))
            row, mask_row = pick(0 if paired else None), pick(0 if mask_paired else None)
            partner, mask_partner = pick(1 if paired else None), pick(1 if mask_paired else None)
            slot = rng.randrange(lane.slots)
            ctx.set(dut.read, 1)
            ctx.set(dut.row, row)
            ctx.set(dut.slot, slot)
            ctx.set(dut.paired, paired)
            ctx.set(dut.partner_row, partner)
            ctx.set(dut.look_up, 1)
            ctx.set(dut.mask_row, mask_row)
            ctx.set(dut.mask_paired, mask_paired)
            ctx.set(dut.mask_partner_row, mask_partner)
            await ctx.tick()
            # What was read stays, whatever is asked without reading.
            ctx.set(dut.read, 0)
            ctx.set(dut.look_up, 0)
            for _ in range(rng.randrange(3)):
                assert ctx.get(dut.operand) == written[row][slot]
                if paired:
                    assert ctx.get(dut.partner) == written[partner][slot]
                assert ctx.get(dut.mask) == mask(mask_row) & (mask(mask_partner) if mask_paired else -1)
                ctx.set(dut.row, pick())
                ctx.set(dut.mask_row, pick())
                ctx.set(dut.paired, rng.random() < 0.5)
                ctx.set(dut.mask_paired, rng.random() < 0.5)
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
