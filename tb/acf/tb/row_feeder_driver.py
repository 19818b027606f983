"""Drives a row feeder: the tiles of its row and its memory around it, any handshake stalled at will."""

import random
from collections import defaultdict
from typing import Any

import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from acf.golden.formats import golden_format
from acf.hw.noc.flit import (
    HEADER,
    clear_head,
    drain_head,
    entry_head,
    flit_layout,
    result_head,
    setup_head,
    signal_head,
)
from acf.isa import (
    Cast,
    EntryKind,
    ErrorCode,
    Opcode,
    ResultKind,
    TrafficClass,
)
from acf.tb.axi_responder import AxiResponder
from acf.tb.feeder_link import command_flits, flit, header_of, quiet_inputs, reports
from acf.tb.row_feeder_model import (
    CONFIG,
    T,
    drain_order,
    golden_drain,
    golden_stream,
    packets,
)
from acf.tb.stream import StreamSink, StreamSource, pack, unpack, wait_until

__all__ = ["RowFeederBench", "one_stream"]

GOLDEN = golden_format(CONFIG.lane.format)

HEADS = {
    EntryKind.ENTRY: entry_head,
    EntryKind.SETUP: setup_head,
    EntryKind.DRAIN: drain_head,
    EntryKind.CLEAR: clear_head,
    EntryKind.SIGNAL: signal_head,
}


def random_results(count):
    """Accumulators as tiles send them; the only NaN is the canonical one."""
    if not CONFIG.lane.number_format.narrows:
        return [random.getrandbits(32) for _ in range(count)]
    corners = [0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0x00008000, 0x3F808000, 0x3F818000]
    drawn = []
    for _ in range(count):
        value = random.getrandbits(32) & random.choice([0xFFFFFFFF, 0xDFFFFFFF])
        if random.random() < 0.2 or value & 0x7F800000 == 0x7F800000:
            value = random.choice(corners)
        drawn.append(value)
    return drawn


class RowFeederBench:
    """The feeder, its tiles and its memory; ``chance`` is that of a cycle being used on any handshake."""

    def __init__(self, dut, *, feeder=0, memory=True):
        self.dut, self.feeder, self.y, self.chance = dut, feeder, feeder + 1, 1.0
        quiet_inputs(dut, y=self.y, x=0)
        self.control = StreamSource(dut, "control_i", use=self.use)
        self.results = StreamSource(dut, "results_i", use=self.use)
        self.reports = StreamSink(dut, "control_o", use=self.use)
        self.entries = StreamSink(dut, "entries_o", use=self.use, on_payload=self._on_entry)
        self.signals = 0  # SIGNAL and DRAIN flits since the latest ``finish``
        self.answers = True  # tiles answer DRAIN
        self.span = 0  # cycles from the first to the last flit that tiles were sent, at the latest ``finish``
        self.remembered = {}  # the table of ranges
        self.drained = []  # per DRAIN flit, the accumulators of every tile and row
        self.memory: Any = None
        if memory:
            rng = random.Random(random.getrandbits(32))
            self.memory = AxiResponder(dut, memory=CONFIG.memory, rng=rng, use=self.use, writes=True)

    def use(self):
        """Whether a handshake uses this cycle."""
        return random.random() < self.chance

    def send(self, opcode, command):
        """Queue a command."""
        fields = {name: int(value) for name, value in command.items()}
        self.control.send(command_flits(opcode, y=self.y, x=0, targets=1 << self.feeder, **fields))

    def _on_entry(self, word):
        """The tiles: each answers DRAIN with its rows in order, the packets of all tiles in any mixture."""
        kind = word >> HEADER["kind"].offset & 0xF
        if kind in (EntryKind.SIGNAL, EntryKind.DRAIN):
            self.signals += 1
        if kind != EntryKind.DRAIN or not self.answers:
            return
        payload = unpack(flit_layout(noc=CONFIG.noc), word)["payload"]
        order = unpack(drain_head, payload)
        accumulators = {}
        kind = ResultKind.SUMS if order["reduce"] else ResultKind.ROW
        if order["reduce"]:
            tiles = [[(0, n) for n in range((order["more"] + 1) // CONFIG.lanes)]]
        else:
            tiles = [[(column, order["first"] + n) for n in range(order["more"] + 1)] for column in range(CONFIG.cols)]
        while any(tiles):
            column, row = random.choice([tile for tile in tiles if tile]).pop(0)
            values = random_results(T)
            accumulators[column, row] = values
            head = pack(
                result_head,
                x=0,
                y=self.y,
                traffic_class=TrafficClass.RESULTS,
                kind=kind,
                column=column,
                row=row,
            )
            sent, width = values[: T // 2 if order["lower"] else T], 32
            if order["narrow"]:
                width = 16
                sent = GOLDEN.narrow(np.array(sent, np.uint32).view(GOLDEN.result_dtype)).view(np.uint16).tolist()
            per_flit = 64 // width
            words = [
                sum(value << width * n for n, value in enumerate(sent[begin : begin + per_flit]))
                for begin in range(0, len(sent), per_flit)
            ]
            body = [flit(word, tail=n == len(words) - 1) for n, word in enumerate(words)]
            self.results.send([flit(head, head=True), *body])
        self.drained.append(accumulators)

    def place(self, matrix):
        """Write the matrix to memory."""
        for address, content in matrix.arrays():
            self.memory.poke(address, content)

    def take_entries(self):
        """Flits at ``entries_o`` as (kind, fields), checked for what all have in common."""
        flits = []
        for word in self.entries.received:
            one = unpack(flit_layout(noc=CONFIG.noc), word)
            assert one["head"]
            assert one["tail"]
            header = header_of(one["payload"])
            kind = EntryKind(header.pop("kind"))
            assert header == {"x": CONFIG.cols, "y": self.y, "cast": Cast.ROW, "traffic_class": TrafficClass.ENTRIES}
            fields = unpack(HEADS[kind], one["payload"])
            common = {"x", "y", "cast", "traffic_class", "kind", "reserved"}
            flits.append((kind, {name: value for name, value in fields.items() if name not in common}))
        self.entries.received.clear()
        self.entries.cycles.clear()
        return flits

    async def finish(self, signals, *, cycles=60000):
        """Wait for so many SIGNAL and DRAIN flits, and until the feeder is quiet; return what tiles were sent."""
        await wait_until(
            self.dut,
            lambda: self.signals >= signals and self.control.idle and self.results.idle,
            cycles=cycles,
            pending=lambda: f"{signals - self.signals} signals, {len(self.results.queue)} results",
        )
        self.signals = 0
        quiet = 0
        while quiet < 60 + int(20 / self.chance):
            await RisingEdge(self.dut.clk)
            busy = self.memory is not None and (self.memory.read.busy or self.memory.write.busy)
            quiet = 0 if busy or int(self.dut.control_o_valid.value) else quiet + 1
        self.span = self.entries.cycles[-1] - self.entries.cycles[0] if self.entries.cycles else 0
        return self.take_entries()

    def check_stream(self, flits, command, matrix):
        """Take the flits of one STREAM off the front; return its entries, zeros and passed over."""
        kind, setup = flits.pop(0)
        assert kind == EntryKind.SETUP
        assert setup == {name: command[name] for name in setup}
        got = defaultdict(list)
        while flits[0][0] == EntryKind.ENTRY:
            entry = flits.pop(0)[1]
            got[entry["accumulator"]].append((entry["value"], entry["row"]))
        assert flits.pop(0) == (EntryKind.SIGNAL, {"semaphore": command["semaphore"]})
        entries, zeros, filtered = golden_stream(command, matrix, feeder=self.feeder, remembered=self.remembered)
        assert dict(got) == entries, f"{command}"
        return sum(map(len, entries.values())), zeros, filtered

    def check_drain(self, flits, command, before):
        """Take the flit of one DRAIN off the front, if it has one; compare memory. Returns rows times tiles."""
        count = packets(command, feeder=self.feeder)
        accumulators = {}
        if count:
            kind, order = flits.pop(0)
            assert kind == EntryKind.DRAIN
            assert order == drain_order(command, feeder=self.feeder)
            accumulators = self.drained.pop(0)
        written = golden_drain(command, lambda column, row: accumulators[column, row], feeder=self.feeder)
        for address, content in written:
            for offset, byte in enumerate(content):
                before[address + offset] = byte
        return count

    async def error(self):
        """Wait for the report of an error: code, row, address, index."""
        await self.reports.wait_for(3)
        await ClockCycles(self.dut.clk, 60)
        [(kind, code, y, x, *place)] = [report for report in reports(self.reports.received) if report[0] != "DONE"]
        assert (kind, y, x) == ("ERROR", self.y, 0)
        return ErrorCode(code), *place

    async def reset(self):
        """Reset everything but the contents of the memory."""
        chance, self.chance = self.chance, 1.0
        self.answers = False
        await ClockCycles(self.dut.clk, 2)
        await self.memory.reset(self.dut)
        for source in (self.control, self.results):
            source.stop()
        self.control = StreamSource(self.dut, "control_i", use=self.use)
        self.results = StreamSource(self.dut, "results_i", use=self.use)
        await ClockCycles(self.dut.clk, 3)
        for sink in (self.entries, self.reports):
            sink.received.clear()
            sink.cycles.clear()
        self.drained.clear()
        self.signals = 0
        self.dut.rst.value = 0
        self.chance, self.answers = chance, True


async def one_stream(bench, matrix, command):
    """Carry out one STREAM; return entries, and cycles from SETUP to SIGNAL."""
    bench.place(matrix)
    bench.send(Opcode.STREAM, command)
    flits = await bench.finish(1)
    entries, *_ = bench.check_stream(flits, command, matrix)
    assert not flits
    return entries, bench.span
