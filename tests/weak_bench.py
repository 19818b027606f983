"""A bench that looks at nothing: whatever is planted, it lets pass."""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge

from acf.tb.stream import start_clock


@cocotb.test()
async def drives_and_looks_away(dut):
    for port in (dut.x, dut.y, dut.a, dut.enable):
        port.value = 0
    await start_clock(dut)
    for _ in range(int(os.environ["ACF_WEAK_CYCLES"])):
        dut.x.value, dut.y.value = random.getrandbits(len(dut.x)), random.getrandbits(len(dut.y))
        dut.a.value, dut.enable.value = random.getrandbits(32), 1
        await RisingEdge(dut.clk)
