"""Drives a compute tile through its packets, follows it with the model and compares what comes back."""

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from acf.golden.packed import pack_rows
from acf.hw.counters import COUNTER_LATENCY, counter_select
from acf.hw.noc import flit
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
    unit_exponent,
)
from acf.tb.lane_model import ColumnModel, Entry, random_operands
from acf.tb.runner import bench_config
from acf.tb.stream import StreamSink, StreamSource, always, pack, unpack, wait_until

__all__ = ["TILE_X", "TILE_Y", "TileBench"]

TILE_Y, TILE_X = 3, 2
"""Where the tile is, unless a test moves it along its row."""


class TileBench:
    """Drives a tile of mesh row ``TILE_Y`` as feeders and command processor would, and follows it with the model."""

    def __init__(self, dut, *, use: Callable[[], bool] = always):
        self.dut = dut
        self.config = bench_config()
        self.lane = self.config.lane
        self.columns = self.config.tile_columns
        self.model = ColumnModel(self.lane, self.columns)
        self.move_to(TILE_X)
        self.moved = False
        dut.y.value = TILE_Y
        for port in ("counters_enable", "counters_clear", "counters_select"):
            getattr(dut, port).value = 0
        self.dense = False
        self.bank = 0
        self.row_bank: int | None = None
        self.open_ports(use)
        self.expected_rows: list[tuple[int, int, list[int]]] = []
        self.expected_forms: list[tuple[int, bool]] = []  # whether these are narrow, and of the lower slots only
        self.expected_done: list[int] = []
        self.entries_sent = 0
        self.operand_flits_sent = 0

    def move_to(self, x: int):
        """Be another tile of the mesh row. Its columns are found anew with the next SETUP."""
        self.x = x
        self.dut.x.value = x
        self.moved = True

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
        word = pack(
            layout, x=self.x, y=TILE_Y, cast=int(cast), traffic_class=int(traffic_class), kind=int(kind), **fields
        )
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

    def load_packed(self, bank: int, first: int, rows: Sequence[Sequence[int]], *, semaphore: int):
        """Send operand rows from ``first`` on as packed chunks; the last one signals."""
        operands = np.array(rows, f"u{self.lane.number_format.operand_bytes}").view(self.model.golden.dtype)
        packed = pack_rows(operands, config=self.config, tile_columns=self.columns)
        chunk_rows, mask_flits = self.config.feeder.chunk_rows, self.config.chunk_mask_flits
        chunks = len(packed.chunks)
        for chunk in range(chunks):
            words = packed.chunks[chunk, 0].view("<u8").tolist()[: mask_flits + int(packed.lengths[0, chunk])]
            head = self._head(
                flit.operand_head,
                traffic_class=TrafficClass.OPERANDS,
                kind=OperandKind.ROWS,
                cast=Cast.COLUMN,
                tail=0,
                row=first + chunk * chunk_rows,
                bank=bank,
                last=int(chunk == chunks - 1),
                semaphore=semaphore,
                packed=1,
                rows=min(chunk_rows, len(rows) - chunk * chunk_rows),
            )
            body = [pack(self.layout, payload=word, tail=int(n == len(words) - 1)) for n, word in enumerate(words)]
            self.operands.send([head, *body])
            self.operand_flits_sent += len(words)
        for n, row in enumerate(rows):
            self.model.load(bank * self.lane.operand_rows + first + n, row)
        if semaphore != NO_SEMAPHORE:
            self.expected_done.append(semaphore)

    def set_up(
        self,
        *,
        bank: int,
        skip: bool,
        columns: int,
        tile_columns: int | None = None,
        row_bank: int | None = None,
        unit: int = 0,
    ):
        """Open a stream, of mode SAMPLED with a row bank."""
        self.model.golden = self.model.golden.with_unit(unit_exponent(unit))
        tile_columns = self.columns if tile_columns is None else tile_columns
        fields = {
            "mode": int(Mode.GATHER if row_bank is None else Mode.SAMPLED),
            "skip": int(skip),
            "bank": bank,
            "row_bank": row_bank or 0,
            "tile_columns": tile_columns,
            "unit": unit,
        }
        if self.moved:
            # A tile keeps its columns until a SETUP has others, as no tile of a mesh moves.
            self._send_entry(flit.setup_head, EntryKind.SETUP, columns=columns ^ 1, **fields)
            self.moved = False
        self._send_entry(flit.setup_head, EntryKind.SETUP, columns=columns, **fields)
        self.bank, self.row_bank, self.dense = bank, row_bank, not (skip and self.lane.skipping)
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

    def drain(
        self,
        first: int,
        count: int,
        *,
        gate: tuple[int, int, int] | None = None,
        narrow: bool = False,
        lower: bool = False,
    ):
        """Ask for accumulator rows; those of zeros are +0 with a ``gate`` of bank, operand row and step."""
        if not count:
            return
        bank, gate_row, step = gate or (0, 0, 0)
        self._send_entry(
            flit.drain_head,
            EntryKind.DRAIN,
            first=first,
            more=count - 1,
            narrow=int(narrow),
            lower=int(lower),
            gate=int(gate is not None),
            gate_bank=bank,
            gate_row=gate_row,
            gate_step=step,
        )
        for n, row in enumerate(range(first, first + count)):
            bits = self.model.result_bits(row)
            if gate is not None:
                operands = self.model.operands[bank * self.lane.operand_rows + gate_row + n * step]
                zeros = self.model.golden.is_zero(operands)
                bits = [0 if zero else value for value, zero in zip(bits, zeros, strict=True)]
            if narrow:
                golden = self.model.golden
                sums = np.array(bits, np.uint32).view(golden.result_dtype)
                bits = golden.narrow(sums).view(np.uint16).tolist()
            self.expected_rows.append((ResultKind.ROW, row, bits[: self.columns // 2 if lower else None]))
            self.expected_forms.append((16 if narrow else 32, lower))
            self.model.clear(row)

    def reduce(self, rng: random.Random, first: int, count: int):
        """Ask for sums over the lanes. Tiles further east, if there are any, send theirs."""
        lanes, slots, golden = self.config.lanes, self.lane.slots, self.model.golden
        width = self.lane.number_format.accumulator_width
        if not count:
            return
        self._send_entry(flit.drain_head, EntryKind.DRAIN, first=first, more=count * lanes - 1, reduce=1)
        for packet in range(count):
            rows = [first + packet * lanes + n for n in range(lanes)]
            total = np.zeros(self.columns, golden.accumulator_dtype)
            if self.x != self.config.cols:
                # Accumulators of a sum have the same bits as others.
                low = random_operands(rng, self.columns, format="bf16", density=0.9)
                high = random_operands(rng, self.columns, format="bf16", density=0.9)
                bits = [(b << 16 | a) for a, b in zip(low, high, strict=True)]
                words = [a | b << 32 for a, b in zip(bits[::2], bits[1::2], strict=True)]
                if width == 64:
                    words = bits = [rng.getrandbits(64) >> rng.choice([1, 1, 1, 40]) for _ in bits]
                self._send_sums([rng.getrandbits(48) << 16, *words])
                total = np.array(bits, f"u{width // 8}").view(golden.accumulator_dtype)
            for lane in range(lanes):
                added = [self.model.accumulators[row].reshape(slots, lanes)[:, lane] for row in rows]
                total, raised = golden.add(total, np.concatenate(added))
                self.model.flags[lane] |= np.bitwise_or.reduce(raised)
            # Only what goes to the row feeder is drained.
            sent = golden.result(total) if self.x == 1 else total
            self.expected_rows.append((ResultKind.SUMS, packet, sent.view(f"u{sent.itemsize}").tolist()))
            self.expected_forms.append((8 * sent.itemsize, False))
            for row in rows:
                self.model.clear(row)

    def _send_sums(self, words: list[int]):
        head, tail = [1] + [0] * (len(words) - 1), [0] * (len(words) - 1) + [1]
        self.sums.send(
            pack(self.layout, payload=word, head=h, tail=t) for word, h, t in zip(words, head, tail, strict=True)
        )

    def clear(self, first: int, count: int):
        """Have accumulator rows set to +0."""
        if not count:
            return
        self._send_entry(flit.clear_head, EntryKind.CLEAR, first=first, more=count - 1)
        for row in range(first, first + count):
            self.model.clear(row)

    # What comes back.

    async def finish(self, *, cycles: int = 60000):
        """Wait until all is sent and all expected packets are there, and compare them."""
        flits = sum(1 + self._body_flits(*form) for form in self.expected_forms)

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
        self.expected_forms.clear()
        self.expected_done.clear()

    def _body_flits(self, width: int, lower: bool) -> int:
        """Flits of a packet of results of so many bits each."""
        return self.columns * width // self.config.noc.flit_width >> int(lower)

    def received_rows(self):
        """RESULTS packets: their kind, row or packet number, and bits."""
        rows = []
        received = [unpack(self.layout, word) for word in self.results.received]
        begin = 0
        for width, lower in self.expected_forms:
            per_packet = 1 + self._body_flits(width, lower)
            packet = received[begin : begin + per_packet]
            begin += per_packet
            assert [part["head"] for part in packet] == [1] + [0] * (per_packet - 1)
            assert [part["tail"] for part in packet] == [0] * (per_packet - 1) + [1]
            head = unpack(flit.result_head, packet[0]["payload"])
            kind = ResultKind(head["kind"])
            to = 0 if kind is ResultKind.ROW else self.x - 1
            expected = {"x": to, "y": TILE_Y, "cast": Cast.UNICAST, "traffic_class": TrafficClass.RESULTS}
            expected |= {"column": self.x - 1, "reserved": 0}
            assert {name: head[name] for name in expected} == expected
            values = [
                part["payload"] >> shift & (1 << width) - 1 for part in packet[1:] for shift in range(0, 64, width)
            ]
            rows.append((kind, head["row"], values))
        assert begin == len(received), f"{len(received)} result flits, not {begin}"
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

    async def counter(self, index: int, *, y: int = TILE_Y, x: int = TILE_X) -> int:
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
            raised = await self.counter(lane * COUNTERS_PER_LANE + LaneCounter.FLAGS)
            assert raised == np.bitwise_or.reduce(self.model.flags[lane::lanes])
        assert await self.counter(TileCounter.ENTRIES) == self.entries_sent
        assert await self.counter(TileCounter.OPERAND_FLITS) == self.operand_flits_sent
        assert await self.counter(LaneCause.MAC, x=TILE_X + 1) == 0
        assert await self.counter(LaneCause.MAC, y=TILE_Y + 1) == 0
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
        return 0x3F80 if self.lane.number_format.narrows else 1
