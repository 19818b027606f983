"""A compute tile alone: packets in, sums, signals and counters out."""

import random
from collections.abc import Callable, Mapping, Sequence

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from acf.hw.counters import COUNTER_LATENCY, counter_select
from acf.hw.formats import mac
from acf.hw.noc import flit
from acf.hw.pe.accumulator_add import AccumulatorAdd
from acf.isa import (
    COUNTERS_PER_LANE,
    NO_SEMAPHORE,
    Cast,
    ControlKind,
    EntryKind,
    LaneCause,
    LaneCounter,
    Mode,
    OperandKind,
    ResultKind,
    TileCounter,
    TrafficClass,
)
from acf.tb.lane_model import ColumnModel, Entry, random_entries, random_operands, random_sampled
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSink, StreamSource, always, at_random, pack, start_clock, unpack, wait_until

Y, X = 3, 2
"""Where the tile is, unless a test moves it."""


class TileBench:
    """Drives a tile at node (Y, X) as feeders and command processor would, and follows it with the model."""

    def __init__(self, dut, *, use: Callable[[], bool] = always):
        self.dut = dut
        self.config = bench_config()
        self.lane = self.config.lane
        self.columns = self.config.tile_columns
        self.model = ColumnModel(self.lane, self.columns)
        self.move_to(X)
        dut.y.value = Y
        for port in ("counters_enable", "counters_clear", "counters_select"):
            getattr(dut, port).value = 0
        self.dense = False
        self.bank = 0
        self.row_bank: int | None = None
        self.open_ports(use)
        self.expected_rows: list[tuple[int, int, list[int]]] = []
        self.expected_done: list[int] = []
        self.entries_sent = 0
        self.operand_flits_sent = 0

    def move_to(self, x: int):
        """Be another tile of the mesh row."""
        self.x = x
        self.dut.x.value = x

    def open_ports(self, use: Callable[[], bool] = always):
        """Drive all streams from now on."""
        layout = flit.flit_layout(noc=self.config.noc)
        self.layout = layout
        self.entries = StreamSource(self.dut, "entries", use=use)
        self.operands = StreamSource(self.dut, "operands", use=use)
        self.results = StreamSink(self.dut, "results", use=use)
        self.sums = StreamSource(self.dut, "results_i", use=use)
        self.control = StreamSink(self.dut, "control", use=use)

    def close_ports(self):
        """Stop driving."""
        for port in (self.entries, self.operands, self.results, self.sums, self.control):
            port.stop()

    # Packets.

    def _head(self, layout, *, traffic_class, kind, cast, tail=1, **fields):
        word = pack(layout, x=self.x, y=Y, cast=int(cast), traffic_class=int(traffic_class), kind=int(kind), **fields)
        return pack(self.layout, payload=word, head=1, tail=tail)

    def _send_entry(self, layout, kind, **fields):
        self.entries.send([self._head(layout, traffic_class=TrafficClass.ENTRIES, kind=kind, cast=Cast.ROW, **fields)])

    def load(self, bank: int, rows: Mapping[int, Sequence[int]], *, semaphore: int, packet_rows: int = 2):
        """Send operand rows, neighbours in one packet; the last packet signals. No rows are one packet without body."""
        width = self.lane.number_format.operand_width
        per_flit = self.config.noc.flit_width // width
        packets: list[list[int]] = []
        for row in rows:
            if packets and packets[-1][-1] + 1 == row and len(packets[-1]) < packet_rows:
                packets[-1].append(row)
            else:
                packets.append([row])
        packets = packets or [[]]
        for packet in packets:
            self.operands.send(
                [
                    self._head(
                        flit.operand_head,
                        traffic_class=TrafficClass.OPERANDS,
                        kind=OperandKind.ROWS,
                        cast=Cast.COLUMN,
                        tail=int(not packet),
                        row=packet[0] if packet else 0,
                        bank=bank,
                        last=int(packet is packets[-1]),
                        semaphore=semaphore,
                    )
                ]
            )
            words = []
            for row in packet:
                self.model.load(bank * self.lane.operand_rows + row, rows[row])
                for first in range(0, self.columns, per_flit):
                    bits = rows[row][first : first + per_flit]
                    words.append(sum(value << n * width for n, value in enumerate(bits)))
            self.operands.send(
                [pack(self.layout, payload=word, tail=int(n == len(words) - 1)) for n, word in enumerate(words)]
            )
            self.operand_flits_sent += len(words)
        if semaphore != NO_SEMAPHORE:
            self.expected_done.append(semaphore)

    def set_up(
        self, *, bank: int, skip: bool, columns: int, tile_columns: int | None = None, row_bank: int | None = None
    ):
        """Open a stream, of mode SAMPLED with a row bank."""
        tile_columns = self.columns if tile_columns is None else tile_columns
        self._send_entry(
            flit.setup_head,
            EntryKind.SETUP,
            mode=int(Mode.GATHER if row_bank is None else Mode.SAMPLED),
            skip=int(skip),
            bank=bank,
            row_bank=row_bank or 0,
            columns=columns,
            tile_columns=tile_columns,
        )
        self.bank, self.row_bank, self.dense = bank, row_bank, not skip
        share = min(max(columns - (self.x - 1) * tile_columns, 0), tile_columns)
        self.model.used[:] = [column < share for column in range(self.columns)]

    def stream(self, entries: Sequence[Entry]):
        """Send entries."""
        for entry in entries:
            self._send_entry(
                flit.entry_head, EntryKind.ENTRY, value=entry.value, row=entry.row, accumulator=entry.accumulator
            )
            if self.row_bank is None:
                self.model.add(entry, bank=self.bank, dense=self.dense)
            else:
                self.model.add_sampled(entry, bank=self.bank, row_bank=self.row_bank, dense=self.dense)
        self.entries_sent += len(entries)

    def signal(self, semaphore: int):
        """Close the stream, or ask for a DONE."""
        self._send_entry(flit.signal_head, EntryKind.SIGNAL, semaphore=semaphore)
        if semaphore != NO_SEMAPHORE:
            self.expected_done.append(semaphore)

    def drain(self, first: int, count: int, *, gate: tuple[int, int, int] | None = None):
        """Ask for accumulator rows; those of zeros are +0 with a ``gate`` of bank, operand row and step."""
        bank, gate_row, step = gate or (0, 0, 0)
        self._send_entry(
            flit.drain_head,
            EntryKind.DRAIN,
            first=first,
            count=count,
            gate=int(gate is not None),
            gate_bank=bank,
            gate_row=gate_row,
            gate_step=step,
        )
        for n, row in enumerate(range(first, first + count)):
            bits = self.model.row_bits(row)
            if gate is not None:
                operands = self.model.operands[bank * self.lane.operand_rows + gate_row + n * step]
                zeros = self.model.golden.is_zero(operands)
                bits = [0 if zero else value for value, zero in zip(bits, zeros, strict=True)]
            self.expected_rows.append((ResultKind.ROW, row, bits))
            self.model.clear(row)

    def reduce(self, rng: random.Random, first: int, count: int):
        """Ask for sums over the lanes. Tiles further east, if there are any, send theirs."""
        lanes, slots, golden = self.config.lanes, self.lane.slots, self.model.golden
        self._send_entry(flit.drain_head, EntryKind.DRAIN, first=first, count=count * lanes, reduce=1)
        for packet in range(count):
            rows = [first + packet * lanes + n for n in range(lanes)]
            total = np.zeros(self.columns, golden.accumulator_dtype)
            if self.x != self.config.cols:
                # Accumulators of a sum have the same bits as others.
                low = random_operands(rng, self.columns, format="bf16", density=0.9)
                high = random_operands(rng, self.columns, format="bf16", density=0.9)
                bits = [(b << 16 | a) for a, b in zip(low, high, strict=True)]
                words = [a | b << 32 for a, b in zip(bits[::2], bits[1::2], strict=True)]
                self._send_sums([rng.getrandbits(48) << 16, *words])
                total = np.array(bits, np.uint32).view(golden.accumulator_dtype)
            for lane in range(lanes):
                added = [self.model.accumulators[row].reshape(slots, lanes)[:, lane] for row in rows]
                total, wrapped = golden.add(total, np.concatenate(added))
                self.model.overflow[lane] |= wrapped.any()
            self.expected_rows.append((ResultKind.SUMS, packet, [int(bits) for bits in total.view(np.uint32)]))
            for row in rows:
                self.model.clear(row)

    def _send_sums(self, words: list[int]):
        head, tail = [1] + [0] * (len(words) - 1), [0] * (len(words) - 1) + [1]
        self.sums.send(
            pack(self.layout, payload=word, head=h, tail=t) for word, h, t in zip(words, head, tail, strict=True)
        )

    def clear(self, first: int, count: int):
        """Have accumulator rows set to +0."""
        self._send_entry(flit.clear_head, EntryKind.CLEAR, first=first, count=count)
        for row in range(first, first + count):
            self.model.clear(row)

    # What comes back.

    async def finish(self, *, cycles: int = 60000):
        """Wait until all is sent and all expected packets are there, and compare them."""
        flits = len(self.expected_rows) * (1 + self.columns // 2)

        def complete():
            return (
                self.entries.idle
                and self.operands.idle
                and len(self.results.received) >= flits
                and len(self.control.received) >= len(self.expected_done)
            )

        def pending():
            return (
                f"{len(self.entries.queue)} entries, {len(self.operands.queue)} operand flits, "
                f"{flits - len(self.results.received)} result flits, "
                f"{len(self.expected_done) - len(self.control.received)} signals"
            )

        await wait_until(self.dut, complete, cycles=cycles, pending=pending)
        for _ in range(20):
            await RisingEdge(self.dut.clk)
        assert self.received_rows() == self.expected_rows
        # Signals of loads and of streams race with each other.
        assert sorted(self.received_done()) == sorted(self.expected_done)
        self.results.received.clear()
        self.control.received.clear()
        self.expected_rows.clear()
        self.expected_done.clear()

    def received_rows(self):
        """RESULTS packets: their kind, row or packet number, and bits."""
        rows = []
        per_packet = 1 + self.columns // 2
        received = [unpack(self.layout, word) for word in self.results.received]
        assert len(received) % per_packet == 0, f"{len(received)} result flits"
        for begin in range(0, len(received), per_packet):
            packet = received[begin : begin + per_packet]
            assert [part["head"] for part in packet] == [1] + [0] * (per_packet - 1)
            assert [part["tail"] for part in packet] == [0] * (per_packet - 1) + [1]
            head = unpack(flit.result_head, packet[0]["payload"])
            kind = ResultKind(head["kind"])
            to = 0 if kind is ResultKind.ROW else self.x - 1
            expected = {"x": to, "y": Y, "cast": Cast.UNICAST, "traffic_class": TrafficClass.RESULTS}
            expected |= {"column": self.x - 1, "reserved": 0}
            assert {name: head[name] for name in expected} == expected
            values = [part["payload"] >> shift & 0xFFFFFFFF for part in packet[1:] for shift in (0, 32)]
            rows.append((kind, head["row"], values))
        return rows

    def received_done(self):
        """Semaphores of DONE packets."""
        semaphores = []
        for word in self.control.received:
            part = unpack(self.layout, word)
            assert (part["head"], part["tail"]) == (1, 1)
            head = unpack(flit.done_head, part["payload"])
            expected = {"x": 0, "y": 0, "cast": Cast.UNICAST, "traffic_class": TrafficClass.CONTROL}
            expected |= {"kind": ControlKind.DONE, "reserved": 0}
            assert {name: head[name] for name in expected} == expected
            semaphores.append(head["semaphore"])
        return semaphores

    # Counters.

    async def start_counting(self):
        """As at the start of a program."""
        self.dut.counters_clear.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.counters_clear.value = 0
        self.dut.counters_enable.value = 1
        self.enabled_at = get_sim_time("ns")
        self.model.start_counting()
        self.entries_sent = self.operand_flits_sent = 0

    async def stop_counting(self) -> int:
        """As at its end; returns the cycles between."""
        self.dut.counters_enable.value = 0
        cycles = round((get_sim_time("ns") - self.enabled_at) / 10)
        await RisingEdge(self.dut.clk)
        return cycles

    async def counter(self, index: int, *, y: int = Y, x: int = X) -> int:
        """Read a counter."""
        self.dut.counters_select.value = pack(counter_select, index=index, y=y, x=x)
        for _ in range(COUNTER_LATENCY):
            await RisingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)
        value = int(self.dut.counters_value.value)
        await RisingEdge(self.dut.clk)
        return value

    async def causes(self, lane: int) -> dict[LaneCause, int]:
        """Where the cycles of a lane went."""
        return {cause: await self.counter(lane * COUNTERS_PER_LANE + cause) for cause in LaneCause}

    async def check_counters(self, cycles: int):
        """Compare all counters with the model and with ``cycles``."""
        lanes = self.config.lanes
        for lane in range(lanes):
            causes = await self.causes(lane)
            assert sum(causes.values()) == cycles, f"causes of lane {lane}: {causes} in {cycles} cycles"
            assert causes[LaneCause.MAC] == self.model.issued[lane::lanes].sum()
            effectual = await self.counter(lane * COUNTERS_PER_LANE + LaneCounter.EFFECTUAL_MACS)
            assert effectual == self.model.effectual[lane::lanes].sum()
            wrapped = await self.counter(lane * COUNTERS_PER_LANE + LaneCounter.OVERFLOW)
            assert wrapped == int(self.model.overflow[lane::lanes].any())
        assert await self.counter(TileCounter.ENTRIES) == self.entries_sent
        assert await self.counter(TileCounter.OPERAND_FLITS) == self.operand_flits_sent
        assert await self.counter(LaneCause.MAC, x=X + 1) == 0
        assert await self.counter(LaneCause.MAC, y=Y + 1) == 0
        assert await self.counter(lanes * COUNTERS_PER_LANE) == 0

    def random_rows(self, rng: random.Random, rows: Sequence[int], *, density: float | None = None, corners=0.2):
        """Operand rows, each of its own density unless one is given."""
        return {
            row: random_operands(
                rng,
                self.columns,
                format=self.lane.format,
                density=rng.choice([0.0, 0.5, 0.9, 1.0]) if density is None else density,
                corners=corners,
            )
            for row in rows
        }

    @property
    def one(self) -> int:
        """The bits of 1."""
        return 0x3F80 if self.lane.format == "bf16" else 1


async def start(dut, *, use=always) -> TileBench:
    bench = TileBench(dut, use=use)
    await start_clock(dut)
    await RisingEdge(dut.clk)
    bench.clear(0, bench.lane.accumulator_rows)
    bench.signal(7)
    await bench.finish()
    return bench


def seeded() -> random.Random:
    return random.Random(cocotb.RANDOM_SEED)


@cocotb.test()
async def random_programs_give_golden_sums(dut):
    """Loads into one bank while the other computes, streams of all kinds, drains and clears, under random stalls."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    half = lane.operand_rows // 2
    await bench.start_counting()
    bench.load(0, bench.random_rows(rng, range(half)), semaphore=0)
    await bench.finish()
    for turn in range(10):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.3, 0.8, 1.0]), rng))
        bank = turn % 2
        # The next bank loads while this one computes.
        begin = rng.randrange(half)
        rows = bench.random_rows(rng, range(begin, begin + rng.randrange(1, half)))
        bench.load(1 - bank, rows, semaphore=rng.randrange(8), packet_rows=rng.randrange(1, 4))

        columns = rng.choice([0, bench.columns + 3, 2 * bench.columns, 4 * bench.columns])
        tile_columns = rng.choice([bench.columns, bench.columns // 2])
        bench.set_up(bank=bank, skip=bool(turn % 3), columns=columns, tile_columns=tile_columns)
        accumulators = rng.sample(range(lane.accumulator_rows), rng.choice([1, 2, 8]))
        entries = random_entries(
            rng, rng.randrange(80), lane=lane, rows=range(lane.operand_rows), accumulators=accumulators
        )
        middle = rng.randrange(len(entries) + 1)
        bench.stream(entries[:middle])
        if rng.random() < 0.3:
            bench.clear(rng.choice(accumulators), 1)
        bench.stream(entries[middle:])
        bench.signal(rng.choice([1, 2, NO_SEMAPHORE]))
        first = rng.randrange(lane.accumulator_rows)
        bench.drain(first, rng.randrange(lane.accumulator_rows - first + 1))
        if rng.random() < 0.5:
            bench.clear(0, rng.randrange(lane.accumulator_rows))
            bench.signal(3)
        await bench.finish()
    bench.drain(0, lane.accumulator_rows)
    await bench.finish()
    await bench.check_counters(await bench.stop_counting())


@cocotb.test()
async def drained_rows_start_from_zero(dut):
    """A drain returns the sums once, then +0; rows beside it keep theirs."""
    rng = seeded()
    bench = await start(dut)
    bench.load(0, bench.random_rows(rng, range(4), density=1.0), semaphore=0)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, n % 4, n % 4) for n in range(8)])
    bench.signal(1)
    bench.drain(1, 2)
    bench.drain(0, 4)
    bench.drain(2, 0)
    await bench.finish()
    bench.drain(0, 4)
    await bench.finish()
    # Without a SIGNAL between them the order is kept too.
    for _ in range(3):
        bench.stream([Entry(bench.one, n % 4, 1) for n in range(5)])
        bench.drain(1, 1)
        bench.stream([Entry(bench.one, n % 4, 2) for n in range(5)])
        bench.clear(2, 1)
        bench.stream([Entry(bench.one, n % 4, 2) for n in range(3)])
    bench.drain(0, 4)
    await bench.finish()


@cocotb.test()
async def sampled_streams_give_golden_sums(dut):
    """Streams of SAMPLED between those of GATHER, with both roles of the banks, all drained as they are."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    await bench.start_counting()
    for turn in range(8):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.3, 0.8, 1.0]), rng))
        for bank in (0, 1):
            bench.load(bank, bench.random_rows(rng, range(8)), semaphore=bank)
        await bench.finish()
        bank = turn % 2
        columns = rng.choice([bench.columns + 3, 2 * bench.columns, 4 * bench.columns])
        bench.set_up(bank=bank, skip=bool(turn % 3), columns=columns, row_bank=1 - bank)
        bench.stream(random_sampled(rng, rng.randrange(40), lane=lane, rows=range(8), row_rows=range(8)))
        # A stream ends with its lanes idle: the next one may use the same accumulators.
        bench.set_up(bank=1 - bank, skip=True, columns=columns, row_bank=bank)
        bench.stream(random_sampled(rng, rng.randrange(40), lane=lane, rows=range(8), row_rows=range(8)))
        bench.set_up(bank=bank, skip=True, columns=columns)
        bench.stream(random_entries(rng, 10, lane=lane, rows=range(8), accumulators=range(3)))
        bench.signal(4)
        bench.drain(0, rng.randrange(lane.accumulator_rows))
        await bench.finish()
    await bench.check_counters(await bench.stop_counting())


@cocotb.test()
async def gated_drains_leave_out_zeros(dut):
    """Results of columns whose operand is zero are +0, for any rows of either bank, also in an open SAMPLED stream."""
    rng = seeded()
    bench = await start(dut)
    lane = bench.lane
    for bank in range(lane.operand_banks):
        bench.load(bank, bench.random_rows(rng, range(lane.operand_rows), density=0.5), semaphore=0)
    await bench.finish()
    for turn in range(8):
        bench.results.use = at_random(rng.choice([0.3, 1.0]), rng)
        bench.set_up(bank=0, skip=True, columns=2 * bench.columns, row_bank=[None, 1][turn % 2])
        if turn % 2:
            bench.stream(random_sampled(rng, 60, lane=lane, rows=range(8), row_rows=range(8)))
        else:
            bench.stream(random_entries(rng, 40, lane=lane, rows=range(20), accumulators=range(8)))
        step = rng.randrange(lane.operand_rows // 8)
        gate_row = rng.randrange(lane.operand_rows - 7 * step)
        bench.drain(0, rng.randrange(1, 9), gate=(rng.randrange(lane.operand_banks), gate_row, step))
        if turn % 2:
            bench.stream(random_sampled(rng, 20, lane=lane, rows=range(8), row_rows=range(8)))
        bench.drain(0, 9, gate=(turn // 2 % 2, rng.randrange(lane.operand_rows), 0))
        bench.drain(0, lane.accumulator_rows)
        await bench.finish()


@cocotb.test()
async def lanes_are_summed_up(dut):
    """SUMS packets of one DRAIN or several, at the east end and inside, among rows sent as they are; random stalls."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    await bench.start_counting()
    for turn in range(12):
        bench.close_ports()
        bench.open_ports(at_random(rng.choice([0.2, 0.7, 1.0]), rng))
        bench.move_to([bench.config.cols, 1][turn % 2])
        for bank in (0, 1):
            bench.load(bank, bench.random_rows(rng, range(8), corners=rng.choice([0, 0.1])), semaphore=bank)
        await bench.finish()
        row_bank = rng.randrange(2)
        bench.set_up(bank=1 - row_bank, skip=bool(turn % 3), columns=rng.choice([3, 8]) * bench.columns // 2,
                     row_bank=row_bank)  # fmt: skip
        accumulators = lane.accumulator_rows * lane.slots
        bench.stream(
            random_sampled(rng, min(300, accumulators), lane=lane, rows=range(8), row_rows=range(8)),
        )
        bench.signal(4)
        packets = rng.randrange(lane.accumulator_rows // lanes + 1)
        first = rng.randrange(lane.accumulator_rows - packets * lanes + 1)
        earlier = rng.randrange(packets + 1)
        bench.reduce(rng, first, earlier)
        if turn % 4 < 2:
            bench.drain(0, 2, gate=(0, 3, 1))
        bench.reduce(rng, first + earlier * lanes, packets - earlier)
        bench.drain(0, rng.randrange(lane.accumulator_rows))
        # The sums of the next DRAIN may be there long before it.
        bench.signal(5)
        bench.set_up(bank=0, skip=True, columns=bench.columns * 2)
        bench.stream(random_entries(rng, 30, lane=lane, rows=range(8), accumulators=range(4)))
        bench.reduce(rng, 0, lane.accumulator_rows // lanes)
        bench.signal(6)
        await bench.finish()
        assert bench.sums.idle
    cycles = await bench.stop_counting()
    bench.move_to(X)
    await RisingEdge(dut.clk)
    await bench.check_counters(cycles)


@cocotb.test()
async def sums_take_a_cycle_for_each_accumulator(dut):
    """Of one lane after the other, as far as slots hide the latency of the adder; these cycles count as DRAIN."""
    rng = seeded()
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes
    latency = AccumulatorAdd(lane=lane).latency
    rows = lane.accumulator_rows // 2 // lanes * lanes
    for x in (1, bench.config.cols):
        bench.move_to(x)
        await bench.start_counting()
        bench.reduce(rng, 0, rows // lanes)
        await bench.finish()
        await bench.stop_counting()
        bench.move_to(X)
        expected = rows * lanes * max(lane.slots, latency + 3)
        for n in range(lanes):
            draining = (await bench.causes(n))[LaneCause.DRAIN]
            dut._log.info(
                f"tile {x}: {draining} cycles for {rows} rows, {draining / (rows * lanes * lane.slots):.3f} each"
            )
            assert 0 <= draining - expected < 20 + rows // lanes, f"{draining} cycles, not {expected}"


@cocotb.test()
async def no_signal_is_lost(dut):
    """While the network takes no DONE, loads and streams wait for each other, and every semaphore comes out once."""
    rng = seeded()
    bench = await start(dut)
    for turn in range(4):
        bench.control.use = lambda: False
        for semaphore in (0, 1, 2):
            bench.load(0, bench.random_rows(rng, [semaphore]), semaphore=semaphore)
            bench.signal(semaphore + 3)
            bench.signal(NO_SEMAPHORE)
            for _ in range(turn):
                await RisingEdge(dut.clk)
        for _ in range(60):
            await RisingEdge(dut.clk)
        assert not bench.operands.idle, "the third load waits until the first is signalled"
        bench.control.use = at_random(0.5, rng)
        await bench.finish()


@cocotb.test()
async def a_load_without_rows_signals(dut):
    """Its one packet is head and tail at once; loads with rows come before and after it."""
    bench = await start(dut)
    rng = seeded()
    bench.load(0, bench.random_rows(rng, [1]), semaphore=1)
    bench.load(0, {}, semaphore=2)
    bench.load(0, {}, semaphore=NO_SEMAPHORE)
    bench.load(0, bench.random_rows(rng, [2, 3]), semaphore=4)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=4 * bench.columns)
    bench.stream(random_entries(rng, 20, lane=bench.lane, rows=[1, 2, 3], accumulators=[0, 1]))
    bench.signal(5)
    bench.drain(0, 2)
    await bench.finish()


@cocotb.test()
async def drain_sends_a_flit_every_cycle(dut):
    """Also from one row to the next; the rows are +0 by then, so that entries may follow at once."""
    rng = seeded()
    bench = await start(dut)
    bench.load(0, bench.random_rows(rng, range(4)), semaphore=0)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, n % 4, n % 8) for n in range(16)])
    bench.signal(NO_SEMAPHORE)
    bench.drain(0, 8)
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, n % 4, n % 8) for n in range(16)])
    bench.signal(NO_SEMAPHORE)
    bench.results.cycles.clear()
    await bench.start_counting()
    flits = 8 * (1 + bench.columns // 2)
    bench.results.received.clear()
    await bench.finish()
    cycles = bench.results.cycles
    assert cycles[-1] - cycles[0] == flits - 1
    for lane in range(bench.config.lanes):
        causes = await bench.causes(lane)
        assert causes[LaneCause.DRAIN] == 1 + flits, "one cycle to start, one per flit"
    bench.drain(0, 8)
    await bench.finish()


@cocotb.test()
async def operands_are_taken_as_fast_as_lanes_allow(dut):
    """A head in one cycle, then as many operands a cycle as there are lanes, but at most one flit."""
    rng = seeded()
    bench = await start(dut)
    per_flit = bench.config.noc.flit_width // bench.lane.number_format.operand_width
    begin = get_sim_time("ns")
    rows = 16
    bench.load(0, bench.random_rows(rng, range(rows)), semaphore=5, packet_rows=4)
    await bench.control.wait_for(1)
    cycles = round((get_sim_time("ns") - begin) / 10)
    writing = rows * bench.columns // min(per_flit, bench.config.lanes)
    assert 0 <= cycles - (writing + rows // 4) <= 4, f"{cycles} cycles"
    await bench.finish()


@cocotb.test()
async def lanes_stay_busy(dut):
    """Half of the operands zero, columns in lanes alike, accumulators in turn: 95 % of lane cycles issue a product."""
    rng = seeded()
    bench = await start(dut)
    lanes, slots = bench.config.lanes, bench.lane.slots
    rows = bench.random_rows(rng, range(16), density=0.5, corners=0)
    for bits in rows.values():
        # The columns of all lanes are the same: this measures the lanes, not how well columns were dealt to them.
        for slot in range(slots):
            bits[slot * lanes : (slot + 1) * lanes] = [bits[slot * lanes]] * lanes
    bench.load(0, rows, semaphore=0)
    await bench.finish()
    await bench.start_counting()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream([Entry(bench.one, rng.randrange(16), n % 8) for n in range(500)])
    bench.signal(1)
    await bench.control.wait_for(1)
    cycles = await bench.stop_counting()
    utilization = bench.model.effectual.sum() / (cycles * lanes)
    dut._log.info(f"utilization {utilization:.3f} in {cycles} cycles")
    assert utilization >= 0.95, f"{utilization:.3f}"
    await bench.finish()
    await bench.check_counters(cycles)


@cocotb.test()
async def every_cycle_has_its_cause(dut):
    """One phase after the other, with a known number of cycles of each cause."""
    bench = await start(dut)
    lane, lanes = bench.lane, bench.config.lanes

    async def elapse(cycles):
        for _ in range(cycles):
            await RisingEdge(dut.clk)

    async def gained(before):
        after = [await bench.causes(n) for n in range(lanes)]
        dut.counters_enable.value = 1
        return after, [{cause: a[cause] - b[cause] for cause in LaneCause} for a, b in zip(after, before, strict=True)]

    async def phase(before, cycles, expected):
        await elapse(cycles)
        dut.counters_enable.value = 0
        await RisingEdge(dut.clk)
        after, gain = await gained(before)
        for lane_gain in gain:
            nonzero = {cause: count for cause, count in lane_gain.items() if count}
            assert nonzero == expected, f"{nonzero}, not {expected}"
        return after

    await bench.start_counting()
    counts = [dict.fromkeys(LaneCause, 0)] * lanes
    # No stream has been opened in this program.
    counts = await phase(counts, 30, {LaneCause.OPERAND_WAIT: 30})
    # A stream without entries.
    dut.counters_enable.value = 0
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    await elapse(10)
    dut.counters_enable.value = 1
    counts = await phase(counts, 25, {LaneCause.ENTRY_WAIT: 25})
    # Closed again.
    dut.counters_enable.value = 0
    bench.signal(NO_SEMAPHORE)
    await elapse(10)
    dut.counters_enable.value = 1
    counts = await phase(counts, 20, {LaneCause.IDLE: 20})
    # A load that does not end.
    dut.counters_enable.value = 0
    bench.load(0, {0: [bench.one] * bench.columns, 5: [bench.one] * bench.columns}, semaphore=4)
    rest = [bench.operands.queue.pop() for _ in range(2)]
    await elapse(60)
    dut.counters_enable.value = 1
    counts = await phase(counts, 15, {LaneCause.OPERAND_WAIT: 15})
    dut.counters_enable.value = 0
    bench.operands.send(reversed(rest))
    await bench.finish()
    dut.counters_enable.value = 1
    # Clearing: one cycle to start, one for each slot.
    bench.clear(2, 3)
    clearing = 1 + 3 * lane.slots
    counts = await phase(counts, 40, {LaneCause.DRAIN: clearing, LaneCause.IDLE: 40 - clearing})
    # Results that nobody takes.
    dut.counters_enable.value = 0
    bench.results.use = lambda: False
    bench.drain(0, 1)
    await elapse(10)
    dut.counters_enable.value = 1
    counts = await phase(counts, 50, {LaneCause.DRAIN: 50})
    dut.counters_enable.value = 0
    bench.results.use = always
    await bench.finish()
    # Entries that meet in one accumulator: of each lane's cycles, slots are products, the others wait.
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    await elapse(10)
    dut.counters_enable.value = 1
    bench.stream([Entry(bench.one, 0, 1)] * 3)
    await elapse(60)
    dut.counters_enable.value = 0
    await RisingEdge(dut.clk)
    _, gain = await gained(counts)
    for lane_gain in gain:
        assert lane_gain[LaneCause.MAC] == 3 * lane.slots
        waits = max(0, bench_distance(lane) - lane.slots)
        assert lane_gain[LaneCause.HAZARD] == 2 * waits
    bench.signal(6)
    bench.drain(0, 2)
    await bench.finish()


def bench_distance(lane):
    """Cycles that two products of one accumulator are apart at least."""
    return mac(format=lane.format).latency + 3


@cocotb.test()
async def counters_are_exact_while_they_count(dut):
    """Reading in the middle of a program shows what happened up to a few cycles before."""
    bench = await start(dut)
    await bench.start_counting()
    for _ in range(300):
        await RisingEdge(dut.clk)
    dut.counters_select.value = pack(counter_select, index=int(LaneCause.OPERAND_WAIT), y=Y, x=X)
    for _ in range(10):
        for _ in range(7):
            await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        now = round((get_sim_time("ns") - bench.enabled_at) // 10)
        assert 0 <= now - int(dut.counters_value.value) <= 4


@cocotb.test()
async def reset_leaves_nothing_behind(dut):
    """A tile that is reset in the middle of anything works like a new one."""
    rng = seeded()
    bench = await start(dut)
    for pause in (3, 9, 17, 30, 45, 70, 100, 150, 220):
        rows = range(8)
        bench.load(0, bench.random_rows(rng, rows), semaphore=0)
        bench.set_up(bank=1, skip=bool(pause % 2), columns=2 * bench.columns)
        bench.stream(random_entries(rng, 20, lane=bench.lane, rows=rows, accumulators=range(3)))
        if pause % 3:
            bench.drain(0, 2)
        else:
            bench.reduce(rng, 0, 2)
        bench.signal(2)
        for _ in range(pause):
            await RisingEdge(dut.clk)
        bench.close_ports()
        dut.entries_valid.value = 0
        dut.operands_valid.value = 0
        dut.results_i_valid.value = 0
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        await FallingEdge(dut.clk)
        assert not int(dut.results_valid.value)
        assert not int(dut.control_valid.value)
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        bench.open_ports()
        bench.expected_rows.clear()
        bench.expected_done.clear()
    bench.clear(0, bench.lane.accumulator_rows)
    bench.load(0, bench.random_rows(rng, range(8)), semaphore=0)
    await bench.finish()
    bench.set_up(bank=0, skip=True, columns=2 * bench.columns)
    bench.stream(random_entries(rng, 30, lane=bench.lane, rows=range(8), accumulators=range(3)))
    bench.signal(1)
    bench.drain(0, 4)
    await bench.finish()
