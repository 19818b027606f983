"""What a command means to one row feeder: its part of the ranges, and whether the command can be carried out."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.command_receiver import command_field, command_layout
from acf.hw.node_product import times_node
from acf.isa import DECODED_COLUMNS, GATE_STEPS, LARGEST_BLOCK, Decoder, IndexSize, Mode, Opcode, Ranges

__all__ = ["RowCommand", "feeder_ranges_layout"]

feeder_ranges_layout = data.StructLayout(
    {"inner_begin": 32, "entry_begin": 32, "entry_end": 32, "entries_here": 17, "gate_row": 16}
)
"""Begin of the feeder's inner range; its entries, ``entry_end`` outside; how many of them exist (0 to ``entry_count``);
the gate row of its first result row."""


class RowCommand(wiring.Component):
    """Works out the ranges of row feeder ``feeder`` and checks a command.

    All outputs are right from the fifth cycle on in which the inputs are held.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    command : In(command_layout)
        CLEAR, STREAM or DRAIN.
    feeder : In(4)
    rows : In
        Rows that the feeder takes, see ``RowShare``.
    ranges : Out(feeder_ranges_layout)
    range_fault : Out(1)
        A field is too large for this configuration (COMMAND_RANGE).
    alignment_fault : Out(1)
        A base address or a stride is not aligned (MISALIGNED), and no field is too large.
    address : Out(32)
        The address that goes with the fault: that of the values, of the array that is not aligned, or of the results;
        0 for a CLEAR.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "command": In(command_layout),
                "feeder": In(4),
                "rows": In(16),
                "ranges": Out(feeder_ranges_layout),
                "range_fault": Out(1),
                "alignment_fault": Out(1),
                "address": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._work_out_ranges(m)
        range_fault, misaligned = Signal(), Signal()
        with m.Switch(self.command[0][:8]):
            with m.Case(Opcode.CLEAR):
                rows = self._of(Opcode.CLEAR, "accumulator_first") + self._of(Opcode.CLEAR, "row_limit")
                m.d.comb += range_fault.eq(rows > self._config.lane.accumulator_rows)
                m.d.sync += self.address.eq(0)
            with m.Case(Opcode.STREAM):
                self._check_stream(m, range_fault, misaligned)
            with m.Case(Opcode.DRAIN):
                self._check_drain(m, range_fault, misaligned)
        was_misaligned = Signal()
        m.d.sync += [self.range_fault.eq(range_fault), was_misaligned.eq(misaligned)]
        m.d.comb += self.alignment_fault.eq(was_misaligned & ~self.range_fault)
        return m

    def _of(self, opcode, name):
        return command_field(self.command, opcode, name)

    def _work_out_ranges(self, m):
        def times_feeder(value):
            product = Signal(20)
            m.d.sync += product.eq(times_node(value, self.feeder))
            return product

        # The fields have the same places in STREAM and DRAIN.
        entries, entry_count = self._of(Opcode.STREAM, "entries"), self._of(Opcode.STREAM, "entry_count")
        inner_part = times_feeder(self._of(Opcode.STREAM, "inner_offset"))
        entry_part = times_feeder(entry_count)
        row_part = times_feeder(self._of(Opcode.DRAIN, "row_offset"))
        left = Signal(33)
        ranges = self.ranges
        m.d.sync += [
            ranges.inner_begin.eq(self._of(Opcode.STREAM, "inner_begin") + inner_part),
            ranges.entry_begin.eq(self._of(Opcode.STREAM, "entry_begin") + entry_part),
            left.eq(Mux(entries > ranges.entry_begin, entries - ranges.entry_begin, 0)),
            ranges.entries_here.eq(Mux(left < entry_count, left, entry_count)),
            ranges.entry_end.eq(ranges.entry_begin + entry_count),
            ranges.gate_row.eq(self._of(Opcode.DRAIN, "gate_first") + row_part),
        ]

    def _bad_columns(self):
        tile_columns = self._of(Opcode.STREAM, "tile_columns")
        return (tile_columns == 0) | (tile_columns > self._config.tile_columns)

    def _bad_sums(self):
        """Whether the entries of the command have no accumulators in whole rows of all lanes."""
        config = self._config
        first, count = self._of(Opcode.STREAM, "accumulator_first"), self._of(Opcode.STREAM, "entry_count")
        packets = (count + config.tile_columns - 1) >> exact_log2(config.tile_columns)
        unaligned = first[: exact_log2(config.lanes)].any() if config.lanes > 1 else Const(0)
        return unaligned | (first + packets * config.lanes > config.lane.accumulator_rows)

    def _check_stream(self, m, range_fault, misaligned):
        lane = self._config.lane

        def of(name):
            return self._of(Opcode.STREAM, name)

        bank, row_bank = of("bank"), of("row_bank")
        bad_mode = Signal()
        with m.Switch(of("mode")):
            with m.Case(Mode.GATHER):
                m.d.comb += bad_mode.eq(
                    (of("accumulator_first") + self.rows > lane.accumulator_rows)
                    | (of("inner_count") > lane.operand_rows)
                )
            with m.Case(Mode.SCATTER):
                m.d.comb += bad_mode.eq(
                    (of("accumulator_first") + of("inner_count") > lane.accumulator_rows)
                    | (of("row_operand_first") + self.rows > lane.operand_rows)
                )
            with m.Case(Mode.SAMPLED):
                m.d.comb += bad_mode.eq(
                    self._bad_sums()
                    | (of("inner_count") > lane.operand_rows)
                    | (of("row_operand_first") + self.rows > lane.operand_rows)
                    | (row_bank >= lane.operand_banks)
                    | ~(bank ^ row_bank)[0]
                )
            with m.Default():
                m.d.comb += bad_mode.eq(1)
        decoder = of("decoder")
        is_csr, is_bitmap = decoder == Decoder.CSR, decoder == Decoder.BITMAP
        is_n_of_m = (decoder == Decoder.N_OF_M) if "nm" in self._config.feeder.formats else Const(0)
        is_blocks = (decoder == Decoder.BLOCKS) if "blocks" in self._config.feeder.formats else Const(0)
        is_wide = of("index_size") == IndexSize.INT32
        bad_decoder = Signal()
        m.d.comb += bad_decoder.eq(
            ~(is_csr | is_bitmap | is_n_of_m | is_blocks | (decoder == Decoder.DENSE))
            | (is_bitmap & (of("mode") != Mode.GATHER))
            | (is_n_of_m & (of("kept") > of("group")))
            | (is_blocks & ((of("mode") == Mode.SAMPLED) | is_wide))
            | ((is_bitmap | is_n_of_m) & (of("inner_size") > DECODED_COLUMNS))
        )
        bad_ranges = Signal()
        with m.Switch(of("ranges")):
            with m.Case(Ranges.ALL):
                m.d.comb += bad_ranges.eq(0)
            with m.Case(Ranges.RECORD, Ranges.USE):
                m.d.comb += bad_ranges.eq(
                    ~(is_csr | is_bitmap | is_blocks) | (of("range_first") + self.rows > self._config.feeder.ranges)
                )
            with m.Default():
                m.d.comb += bad_ranges.eq(1)
        m.d.comb += range_fault.eq(
            self._bad_columns() | bad_mode | bad_ranges | bad_decoder | (bank >= lane.operand_banks)
        )
        has_values = of("mode") != Mode.SAMPLED
        has_indices = is_csr | is_blocks
        # The last one that is not aligned gives the address, so the first of the golden model's order comes last.
        m.d.sync += self.address.eq(of("values"))
        for name, mask in (
            (
                "indices",
                Mux(is_bitmap, self._config.memory.beat_bytes - 1, Mux(has_indices, Mux(is_wide, 3, 1), 0)),
            ),
            ("pointers", Mux(has_indices | is_bitmap, 3, 0)),
            ("values", Mux(has_values, lane.number_format.operand_bytes - 1, 0)),
        ):
            with m.If((of(name) & mask) != 0):
                m.d.comb += misaligned.eq(1)
                # One cycle later than it could be, since all fields are compared before.
                with m.If(~self.range_fault):
                    m.d.sync += self.address.eq(of(name))

    def _check_drain(self, m, range_fault, misaligned):
        lane, beat_bytes = self._config.lane, self._config.memory.beat_bytes
        mask = Const(beat_bytes - 1, 32)

        def of(name):
            return self._of(Opcode.DRAIN, name)

        m.d.sync += self.address.eq(of("address"))
        with m.If(of("reduce")):
            bad_select = of("block") > LARGEST_BLOCK if lane.number_format.narrows else Const(1)
            entries = of("entry_begin") | of("entry_count")
            granule = Mux(of("select"), 7, beat_bytes // 4 - 1)  # whole bytes of bits
            m.d.comb += [
                range_fault.eq(of("gate") | of("relu") | of("narrow") | (of("select") & bad_select) | self._bad_sums()),
                misaligned.eq(((of("address") & mask) | (entries & granule)) != 0),
            ]
        with m.Else():
            operand_bits = exact_log2(lane.number_format.operand_bytes)
            row_bytes = Mux(of("narrow"), of("tile_columns") << operand_bits, of("tile_columns") << 2)
            m.d.comb += [
                range_fault.eq(
                    self._bad_columns()
                    | of("select")
                    | (of("accumulator_first") + self.rows > lane.accumulator_rows)
                    | (of("gate") & ((of("bank") >= lane.operand_banks) | (of("row_step") >= GATE_STEPS)))
                    | (of("narrow") & (0 if lane.number_format.narrows else 1))
                ),
                misaligned.eq(((of("address") | of("row_stride") | row_bytes) & mask) != 0),
            ]
