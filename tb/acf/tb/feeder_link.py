"""What feeder benches share: COMMAND packets, flits, reports, counters."""

from typing import Any

from cocotb.triggers import RisingEdge

from acf.config import NocConfig
from acf.hw.counters import COUNTER_LATENCY
from acf.hw.noc.flit import HEADER, command_head, done_head, error_head, flit_layout
from acf.isa import ControlKind, FeederCounter, Opcode, TrafficClass, encode_command
from acf.tb.stream import pack, unpack

__all__ = ["command_flits", "count_events", "flit", "header_of", "quiet_inputs", "read_counter", "reports"]

_LAYOUT = flit_layout(noc=NocConfig())


def flit(payload: int, *, head: bool = False, tail: bool = False) -> int:
    """A flit as a packed word."""
    return pack(_LAYOUT, payload=payload, head=int(head), tail=int(tail))


def command_flits(opcode: Opcode, *, y: int, x: int, **values: int) -> list[int]:
    """The COMMAND packet of a command."""
    words = encode_command(opcode, **values)
    head = pack(command_head, x=x, y=y, traffic_class=TrafficClass.CONTROL, kind=ControlKind.COMMAND)
    pairs = [words[n] | words[n + 1] << 32 for n in range(0, len(words), 2)]
    return [flit(head, head=True), *(flit(pair, tail=n == len(pairs) - 1) for n, pair in enumerate(pairs))]


def header_of(payload: int) -> dict[str, int]:
    """The routing header of a head flit's payload."""
    return unpack(HEADER, payload & 0xFFFF)


def reports(words: list[int]) -> list[tuple]:
    """Packets to the command processor: ``("DONE", semaphore)`` and ``("ERROR", code, y, x, row, address, index)``."""
    result = []
    flits = [unpack(_LAYOUT, word) for word in words]
    while flits:
        first = flits.pop(0)
        header = header_of(first["payload"])
        assert first["head"], "a packet begins without a head"
        assert (header["y"], header["x"], header["cast"]) == (0, 0, 0), f"report to {header}"
        assert header["traffic_class"] == TrafficClass.CONTROL
        if header["kind"] == ControlKind.DONE:
            assert first["tail"]
            result.append(("DONE", unpack(done_head, first["payload"])["semaphore"]))
            continue
        assert header["kind"] == ControlKind.ERROR, f"report of kind {header['kind']}"
        if len(flits) < 2:
            break
        place, index = flits.pop(0), flits.pop(0)
        assert [first["tail"], place["head"], place["tail"], index["head"], index["tail"]] == [0, 0, 0, 0, 1]
        assert index["payload"] >> 32 == 0
        error = unpack(error_head, first["payload"])
        result.append(
            (
                "ERROR",
                error["code"],
                error["source_y"],
                error["source_x"],
                place["payload"] >> 32,
                place["payload"] & 0xFFFFFFFF,
                index["payload"],
            )
        )
    return result


def quiet_inputs(dut: Any, *, y: int, x: int) -> None:
    """Place the feeder and leave its counters alone."""
    dut.y.value, dut.x.value = y, x
    dut.counters_enable.value = 0
    dut.counters_clear.value = 0
    dut.counters_select.value = 0


async def count_events(dut: Any) -> None:
    """Clear the counters and let them count."""
    dut.counters_clear.value = 1
    await RisingEdge(dut.clk)
    dut.counters_clear.value = 0
    dut.counters_enable.value = 1


async def read_counter(dut: Any, counter: FeederCounter, *, y: int, x: int) -> int:
    """The value that node (y, x) answers for a counter."""
    dut.counters_select.value = int(counter) | x << 8 | y << 12
    for _ in range(COUNTER_LATENCY + 1):
        await RisingEdge(dut.clk)
    return int(dut.counters_value.value)
